// Package mactools drives the macOS tools that change a machine's network
// settings and trust: networksetup, security, scutil.
//
// [Tools] is the one way in. It runs the tools by their absolute paths, or
// from a folder that holds stand-ins for them, which is how the commands that
// use it are tested where there is no Mac.
//
// Every change can be undone: [Tools.Snapshot] is taken before the first one,
// and [Tools.Restore] puts back what it says, but only where the setting is
// still the one that was made here. What the user changed since is the user's.
package mactools
