//go:build !darwin

package launchd

import "os"

func activateNatively(string) ([]*os.File, error) { return nil, ErrNotActivated }
