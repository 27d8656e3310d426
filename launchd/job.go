package launchd

// A Job is the content of a launchd.plist(5): one agent or daemon.
//
// A field that is nil, or a string that is empty, is absent from the plist,
// which to launchd often differs from false, 0 or an empty list. Go 1.26
// writes a present value as new(true), new(60) or new("/").
//
// ParseJob and Encode together lose nothing: keys that this type does not
// know, and values of a type that launchd ignores for their key, are kept in
// Extra.
type Job struct {
	// Label names the job in its domain. It is the one required key.
	Label string

	// Program is the absolute path of the executable; without it launchd
	// runs ProgramArguments[0].
	Program string
	// BundleProgram is relative to an app bundle and read for SMAppService
	// only.
	BundleProgram string
	// ProgramArguments is argv, the program's own name included.
	ProgramArguments []string
	EnableGlobbing   *bool

	// RunAtLoad starts the job once when it is loaded.
	RunAtLoad *bool
	// KeepAlive keeps the job running, always or under conditions. Any form
	// but false starts it at load, whatever RunAtLoad says.
	KeepAlive *KeepAlive
	// StartInterval is in seconds, counted from the end of the previous run.
	StartInterval         *int
	StartCalendarInterval OneOrMany[CalendarInterval]
	StartOnMount          *bool
	WatchPaths            []string
	QueueDirectories      []string
	LaunchEvents          map[string]any
	LaunchOnlyOnce        *bool
	// Disabled is only the default: launchctl enable and disable override
	// it, and what they set outlives the plist.
	Disabled *bool

	// ThrottleInterval is the least number of seconds between two starts.
	// Absent means 10, and launchd ignores 0.
	ThrottleInterval *int
	// ExitTimeOut is the number of seconds from SIGTERM to SIGKILL. Absent
	// means the system's default, 5 on current macOS; 0 means never.
	ExitTimeOut *int
	// TimeOut is documented as not implemented.
	TimeOut *int

	// EnvironmentVariables is added to what launchd provides.
	EnvironmentVariables     map[string]string
	UserEnvironmentVariables map[string]string
	// WorkingDirectory is / if absent. launchd never expands a tilde.
	WorkingDirectory  string
	RootDirectory     string
	StandardInPath    string
	StandardOutPath   string
	StandardErrorPath string
	// Umask is a number, which XML can only write in decimal, or text as
	// strtoul(3) reads it, where a leading 0 means octal.
	Umask *IntOrString

	// UserName, GroupName and InitGroups count in the system domain only.
	UserName   string
	GroupName  string
	InitGroups *bool

	// ProcessType is Background, Standard, Adaptive or Interactive.
	ProcessType string
	// POSIXSpawnType is the undocumented older name of ProcessType.
	POSIXSpawnType              string
	Nice                        *int
	LowPriorityIO               *bool
	LowPriorityBackgroundIO     *bool
	MaterializeDatalessFiles    *bool
	LegacyTimers                *bool
	SoftResourceLimits          *ResourceLimits
	HardResourceLimits          *ResourceLimits
	AbandonProcessGroup         *bool
	EnableTransactions          *bool
	EnablePressuredExit         *bool
	SessionCreate               *bool
	Debug                       *bool
	WaitForDebugger             *bool
	InetdCompatibility          *InetdCompatibility `plist:"inetdCompatibility"`
	MachServices                map[string]MachService
	Sockets                     map[string]OneOrMany[Socket]
	LimitLoadToSessionType      OneOrMany[string]
	LimitLoadToHardware         map[string][]string
	LimitLoadFromHardware       map[string][]string
	AssociatedBundleIdentifiers OneOrMany[string]

	// LimitLoadToHosts and LimitLoadFromHosts are no longer supported.
	LimitLoadToHosts   []string
	LimitLoadFromHosts []string
	// OnDemand is deprecated: false means KeepAlive true.
	OnDemand *bool
	// ServiceIPC is to be removed from every plist, says the manual.
	ServiceIPC *bool
	// HopefullyExitsFirst and HopefullyExitsLast are not implemented.
	HopefullyExitsFirst *bool
	HopefullyExitsLast  *bool

	// The keys from here on are in no manual, but in plists that ship.

	SpawnConstraint              map[string]any
	SMAuthorizedClients          []string
	JetsamProperties             map[string]any
	RemoteServices               map[string]any
	SandboxProfile               string
	MachExceptionHandler         string
	BinaryOrderPreference        []int
	MultipleInstances            *bool
	ExecuteAllowed               *bool
	EventMonitor                 *bool
	BeginTransactionAtShutdown   *bool
	DisabledInSafeBoot           *bool
	MinimalBootProfile           *bool
	IgnoreProcessGroupAtShutdown *bool

	// Extra holds every other key, and the values, also single ones of a
	// dictionary, whose type does not fit their key. Where a field above is
	// set too, the field wins. Its values have the types that a property
	// list has: string, bool, integers, floats, []byte, time.Time, []any,
	// map[string]any.
	Extra map[string]any

	blanks
}

// KeepAlive is a boolean or a dictionary of conditions.
type KeepAlive struct {
	// Always is the boolean form. It counts while Conditions is nil.
	Always bool
	// Conditions is the dictionary form, if not nil.
	Conditions *KeepAliveConditions
}

// KeepAliveConditions are ORed: launchd (re)starts the job when any holds.
type KeepAliveConditions struct {
	// SuccessfulExit false restarts after a failure or a signal, true only
	// after exit status 0.
	SuccessfulExit *bool
	// Crashed true restarts only after a crash signal such as SIGSEGV.
	Crashed *bool
	// PathState maps a path to whether it must exist.
	PathState map[string]bool
	// OtherJobEnabled maps a label to whether that job must be loaded.
	OtherJobEnabled map[string]bool
	// OtherJobActive is the same for running jobs, in older systems.
	OtherJobActive map[string]bool
	// AfterInitialDemand holds everything back until the first demand.
	AfterInitialDemand *bool
	// NetworkState is no longer implemented.
	NetworkState *bool
	Extra        map[string]any
}

// A CalendarInterval is a point in the calendar; absent fields match any.
type CalendarInterval struct {
	Minute  *int // 0 to 59
	Hour    *int // 0 to 23
	Day     *int // 1 to 31
	Weekday *int // 0 to 7; both 0 and 7 are Sunday
	Month   *int // 1 to 12
	Extra   map[string]any
}

// ResourceLimits are those of setrlimit(2).
type ResourceLimits struct {
	Core              *int
	CPU               *int
	Data              *int
	FileSize          *int
	MemoryLock        *int
	NumberOfFiles     *int
	NumberOfProcesses *int
	ResidentSetSize   *int
	Stack             *int
	Extra             map[string]any
}

// InetdCompatibility makes launchd treat the job as inetd would.
type InetdCompatibility struct {
	Wait  *bool
	Extra map[string]any
}

// A MachService is a boolean or a dictionary of options.
type MachService struct {
	// Enabled is the boolean form. It counts while Options is nil.
	Enabled bool
	Options *MachServiceOptions
}

// MachServiceOptions is the dictionary form of a MachService.
type MachServiceOptions struct {
	ResetAtClose     *bool
	HideUntilCheckIn *bool
	// The rest is undocumented.
	DrainMessagesOnCrash *bool
	HostSpecialPort      *int
	TaskSpecialPort      *int
	ExceptionServer      map[string]any
	KUNCServer           *bool `plist:"kUNCServer"`
	Extra                map[string]any
}

// A Socket describes one socket that launchd opens for the job.
type Socket struct {
	SockType    string // stream, dgram or seqpacket; absent means stream
	SockPassive *bool  // false connects instead of listening
	// SockNodeName is the address to bind to.
	SockNodeName string
	// SockServiceName is a port number or a name from services(5).
	SockServiceName *IntOrString
	SockFamily      string // IPv4, IPv6 or IPv4v6
	SockProtocol    string // TCP or UDP
	SockPathName    string
	// SecureSocketWithKey names the variable that holds the path of a Unix
	// socket that launchd makes in a private directory.
	SecureSocketWithKey string
	SockPathOwner       *int
	SockPathGroup       *int
	SockPathMode        *int // a number that XML can only write in decimal
	Bonjour             *Bonjour
	MulticastGroup      string
	Extra               map[string]any

	blanks
}

// Bonjour is a boolean, a name or a list of names.
type Bonjour struct {
	// Register is the boolean form. It counts while Names.Values is nil.
	Register bool
	Names    OneOrMany[string]
}
