package launchdtest_test

import (
	"errors"
	"os"
	"path/filepath"
	"testing"

	"github.com/haltonlabs/halton-meter/launchd"
	"github.com/haltonlabs/halton-meter/launchd/launchdtest"
)

func TestNewGivesAClientOfItsOwn(t *testing.T) {
	for _, name := range []string{"one", "another"} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			ctx, client, domain := t.Context(), launchdtest.New(t), launchd.GUI(os.Getuid())
			// Both have the same label: they would collide in one launchd.
			service, err := domain.Service("com.example.agent")
			if err != nil {
				t.Fatal(err)
			}
			job := launchd.Job{
				Label:            service.Label(),
				ProgramArguments: []string{"/bin/sleep", "1000"},
				KeepAlive:        &launchd.KeepAlive{Always: true},
			}
			data, err := job.Encode()
			if err != nil {
				t.Fatal(err)
			}
			plist := filepath.Join(t.TempDir(), job.Label+".plist")
			if err := os.WriteFile(plist, data, 0o600); err != nil {
				t.Fatal(err)
			}
			if err := client.Bootstrap(ctx, domain, plist); err != nil {
				t.Fatal(err)
			}
			s, err := client.Print(ctx, service)
			if err != nil || s.Path != plist || s.PID == 0 {
				t.Fatalf("print: %+v, %v", s, err)
			}
			if err := client.Bootout(ctx, service); err != nil {
				t.Fatal(err)
			}
			if _, err := client.Print(ctx, service); !errors.Is(err, launchd.ErrNotLoaded) {
				t.Fatalf("print after bootout: %v", err)
			}
		})
	}
}
