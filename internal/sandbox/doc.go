// Package sandbox gives a test a disk or a user of its own, by running it again
// in a process with its own Linux namespaces (namespaces(7)): no privilege is
// needed, and nothing is left behind. Some kernels and containers allow that to
// nobody. Then the test is not run and says so, so that whatever it looks at
// needs a test with injected errors too.
//
// It exists on Linux only; tests that use it are in files named _linux_test.go.
package sandbox
