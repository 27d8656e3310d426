package doctor

import (
	"context"
	"encoding/pem"
	"errors"
	"fmt"
	"io/fs"
	"path/filepath"
	"strings"
	"time"

	"github.com/haltonlabs/halton-meter/cmd/halton-meter/agents"
	"github.com/haltonlabs/halton-meter/cmd/halton-meter/mactools"
	"github.com/haltonlabs/halton-meter/internal/smallfile"
	"github.com/haltonlabs/halton-meter/meter/ca"
)

// expiring is how long before its end a root is renewed.
const expiring = 30 * 24 * time.Hour

func (p *Patient) authority(ctx context.Context) Finding {
	dir := p.Paths.CA()
	renew := p.renewRoots()
	a, err := ca.Load(dir)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		if len(ca.RootFiles(dir)) > 0 {
			return mend(Broken, "the certificate authority in "+dir+" is not whole: "+err.Error(), renew...)
		}
		return mend(Broken, "there is no certificate authority in "+dir, renew...)
	case errors.Is(err, ca.ErrKeyExposed):
		return mend(Broken, err.Error(), Command{Argv: []string{"chmod", "0600", filepath.Join(dir, "ca-key.pem")}}, meter(Start, "start"))
	case err != nil:
		return mend(Broken, err.Error(), renew...)
	}
	root := a.Certificate()
	for _, r := range a.Certificates() {
		if r.NotAfter.Before(root.NotAfter) {
			root = r
		}
	}
	switch left := root.NotAfter.Sub(p.Now()); {
	case left <= 0:
		return mend(Broken, "the root has expired at "+root.NotAfter.UTC().Format(time.DateOnly), renew...)
	case p.Now().Before(root.NotBefore):
		return advise(Broken, "the root is valid from "+root.NotBefore.UTC().Format(time.RFC3339)+": the clock is behind", "set the clock")
	case left < expiring:
		return mend(Inconsistent, "the root expires at "+root.NotAfter.UTC().Format(time.DateOnly), renew...)
	}
	if p.Paths.Mode() == agents.ModeFull && p.Tools.Available() {
		if trusted, err := agents.RootsTrusted(ctx, p.Paths, p.Tools); err != nil {
			return advise(Inconsistent, "the keychain does not answer: "+err.Error(), "halton-meter init --full")
		} else if !trusted {
			return mend(Broken, "the login keychain does not trust all our roots, and the system proxy leads programs to them", meter(Install, "init", "--full"))
		}
	}
	return ok("valid until " + root.NotAfter.UTC().Format(time.DateOnly))
}

// renewRoots puts all roots and their keys aside and makes a new one. First
// the daemon stops; the bundle stays where it is until there is another, for
// programs that start meanwhile name it. What the keychain trusted goes from
// it while the root's file tells its name.
func (p *Patient) renewRoots() []Command {
	renew := []Command{meter(Stop, "stop")}
	files, err := filepath.Glob(filepath.Join(p.Paths.CA(), "ca*.pem"))
	if err != nil {
		files = nil
	}
	for _, path := range files {
		if p.Paths.Mode() == agents.ModeFull && p.Tools.Available() && !strings.HasSuffix(path, "key.pem") {
			if argv, err := p.Tools.UntrustCommand(path, mactools.LoginKeychain(p.Paths.Home)); err == nil {
				renew = append(renew, Command{Argv: argv, Order: Repair})
			}
		}
		renew = append(renew, Command{Argv: []string{"mv", path, aside(path)}, Order: Repair})
	}
	return append(renew, meter(Install, "init"), meter(Start, "start"))
}

// bundle checks that the file that programs are pointed at holds our roots, and
// others besides: with ours alone every other host would fail.
func (p *Patient) bundle(context.Context) Finding {
	rewrite := meter(Install, "init")
	data, err := smallfile.Read(p.Paths.Bundle(), smallfile.Max)
	if err != nil {
		return mend(Broken, err.Error()+": programs that name it cannot verify any host", rewrite)
	}
	missing := map[string]bool{}
	for _, name := range append(ca.RootFiles(p.Paths.CA()), filepath.Join(p.Paths.CA(), ca.CertFile)) {
		root, err := smallfile.Read(name, smallfile.Max)
		if err != nil {
			return mend(Broken, err.Error(), rewrite)
		}
		if block, _ := pem.Decode(root); block != nil {
			missing[string(block.Bytes)] = true
		}
	}
	held, ours := 0, len(missing)
	for rest := data; ; held++ {
		var b *pem.Block
		if b, rest = pem.Decode(rest); b == nil {
			break
		}
		delete(missing, string(b.Bytes))
	}
	switch {
	case ours == 0 || len(missing) > 0:
		return mend(Broken, p.Paths.Bundle()+" does not hold our roots", rewrite)
	case held < 10:
		return mend(Broken, fmt.Sprintf("%s holds %d certificates: the system's are missing, so that programs trust no other host", p.Paths.Bundle(), held), rewrite)
	}
	if p.stuck {
		return ok(fmt.Sprintf("%d roots, ours among them; which it should have the configuration says", held))
	}
	switch stale, err := agents.TrustBundle(p.Paths, p.conf).Stale(); {
	case err != nil && p.conf.Upstream.CAFile != "":
		p.stuck = true
		return advise(Broken, err.Error()+": the daemon does not start again with this", "mend [upstream] ca_file in "+p.Paths.Config()+", then halton-meter start")
	case err != nil:
		return advise(Inconsistent, err.Error(), "mend that, then halton-meter init")
	case stale:
		return mend(Inconsistent, p.Paths.Bundle()+" is not what it would be now: the system's roots, or yours, have changed since", rewrite)
	}
	return ok(fmt.Sprintf("%d roots, ours among them", held))
}
