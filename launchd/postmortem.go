package launchd

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/user"
	"strconv"
	"strings"
	"time"

	"github.com/haltonlabs/halton-meter/internal/filelock"
)

// maxPostmortemBytes is the size at which a file of post-mortems is renamed
// to "….1", in place of the one before.
const maxPostmortemBytes = 1 << 20

// maxQuoted bounds each text of launchctl in a Postmortem.
const maxQuoted = 32 << 10

// A Postmortem is what [Client.Load] leaves behind when it fails, as one line
// of JSON: all that a person would ask for first. Print has the environment of
// a loaded job, so the file is readable for its owner only.
type Postmortem struct {
	Time      time.Time           `json:"time"`
	Label     string              `json:"label"`
	Domain    string              `json:"domain"`
	Plist     string              `json:"plist"`
	Owner     string              `json:"owner"` // of the plist: name, else number
	Mode      string              `json:"mode"`  // of the plist: "0644"
	Attempts  []PostmortemAttempt `json:"attempts"`
	Print     string              `json:"print"`      // what launchctl print said
	Disabled  *bool               `json:"disabled"`   // null: it could not be found out
	OSVersion string              `json:"os_version"` // "macOS 26.1", "Linux 6.12"
}

// PostmortemAttempt is one [Attempt] of a Postmortem.
type PostmortemAttempt struct {
	At      time.Time `json:"at"`
	DelayMS float64   `json:"delay_ms"` // the wait before it
	Code    int       `json:"code"`
	Stderr  string    `json:"stderr"`
}

// postmortem collects it, also when ctx has ended.
func (l *loading) postmortem(ctx context.Context) Postmortem {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), minPatience)
	defer cancel()
	p := Postmortem{
		Time: time.Now().UTC(), Label: l.target.Label(), Domain: l.target.Domain().String(), Plist: l.path,
		OSVersion: osVersion(), Attempts: []PostmortemAttempt{},
	}
	if st, err := os.Lstat(l.path); err == nil {
		p.Mode = fmt.Sprintf("%04o", st.Mode().Perm())
		if uid, ok := ownerOf(st); ok {
			p.Owner = strconv.Itoa(uid)
			if u, err := user.LookupId(p.Owner); err == nil {
				p.Owner = u.Username
			}
		}
	}
	for _, a := range l.result.Attempts {
		p.Attempts = append(p.Attempts, PostmortemAttempt{
			At: a.At.UTC(), DelayMS: float64(a.Delay.Microseconds()) / 1000, Code: a.Code, Stderr: shorten(a.Stderr),
		})
	}
	out, err := l.call(ctx, "print", l.target.String(), l.target.String())
	p.Print = shorten(string(out))
	if err != nil {
		p.Print = shorten(err.Error())
	}
	if disabled, err := l.PrintDisabled(ctx, l.target.Domain()); err == nil {
		p.Disabled = new(disabled[l.target.Label()])
	}
	return p
}

// shorten keeps a strange launchctl from filling the file with one line.
func shorten(text string) string {
	return strings.ToValidUTF8(text[:min(len(text), maxQuoted)], "")
}

// append adds the line to the file at path. It locks the file, so that two
// processes neither mix their lines nor both rotate.
func (p Postmortem) append(ctx context.Context, path string) (err error) {
	defer func() {
		if err != nil {
			err = fmt.Errorf("write post-mortem: %w", err)
		}
	}()
	line, err := json.Marshal(p)
	if err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), minPatience)
	defer cancel()
	lock, err := filelock.Wait(ctx, path)
	if err != nil {
		return err
	}
	defer lock.Unlock()
	if st, err := os.Stat(path); err == nil && st.Size()+int64(len(line))+1 > maxPostmortemBytes {
		if err := os.Rename(path, path+".1"); err != nil {
			return err
		}
	}
	f, err := os.OpenFile(path, os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		return err
	}
	_, err = f.Write(append(line, '\n'))
	return errors.Join(err, f.Close())
}
