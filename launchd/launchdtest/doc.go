// Package launchdtest gives a test a launchd of its own, on any system. Job
// processes, signals and exit codes are real; nothing of the user's own
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
package launchdtest
