// Package launchd manages macOS agents and daemons.
package launchd
