// Package launchdtest gives a test a launchd of its own, on Linux and macOS.
// Job processes, signals and exit codes are real; nothing of the user's own
// launchd is touched.
//
//	func TestMain(m *testing.M) { launchdtest.Main(m) }
//
//	func TestAgent(t *testing.T) {
//		t.Parallel()
//		client := launchdtest.New(t)
//		err := client.Bootstrap(t.Context(), …)
//		…
//	}
//
// [Start] chooses the emulator's behaviour, and runs launchctl without a client.
// The emulator ends with its test and takes its jobs along.
//
// The program of a job may be the test binary. It knows that it is the job by a
// variable of the job's EnvironmentVariables, and looks for it before Main,
// which does not return:
//
//	func TestMain(m *testing.M) {
//		if os.Getenv("MY_AGENT") != "" {
//			os.Exit(agent())
//		}
//		launchdtest.Main(m)
//	}
package launchdtest
