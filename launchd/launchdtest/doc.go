// Package launchdtest gives a test a launchd of its own, on any system. Job
// processes, signals and exit codes are real; nothing of the user's own
// launchd is touched.
//
//	func TestMain(m *testing.M) { launchdtest.Main(m) }
//
//	func TestAgent(t *testing.T) {
//		t.Parallel()
//		e := launchdtest.Start(t, emulator.Knobs{})
//		r := e.Run("bootstrap", "gui/501", "/path/to/agent.plist")
//		…
//	}
//
// The emulator ends with its test and takes its jobs along.
package launchdtest
