// Package systemd lets the user manager of systemd supervise launchd jobs: it
// answers launchctl's verbs, with launchctl's exit codes and text, by running
// systemctl --user. So a [launchd.Client] whose Run is [Launchctl.Run] works on
// it as on launchd, and a program needs no second way to install, ask and
// restart its jobs.
//
// A job becomes a service unit in ~/.config/systemd/user, and its Sockets a
// socket unit beside it. Loaded means enabled: bootstrap writes and enables the
// units, and starts what launchd would start; bootout disables and stops them
// and leaves the files, which [Launchctl.Remove] deletes. So what is loaded
// comes back at the next login, the jobs without RunAtLoad too.
//
// It knows the verbs and keys that this product's jobs need, and no more.
package systemd
