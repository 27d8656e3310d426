package shellenv

import "strings"

// Excludes reports whether a NO_PROXY has programs reach a host without their
// proxy. Clients differ in the details; all know names, with their subdomains,
// and the one asterisk.
func Excludes(noProxy, host string) bool {
	for entry := range strings.SplitSeq(noProxy, ",") {
		entry = strings.ToLower(strings.TrimSpace(entry))
		if entry == "*" {
			return true
		}
		entry = strings.TrimPrefix(strings.TrimPrefix(entry, "*"), ".")
		if entry != "" && (host == entry || strings.HasSuffix(host, "."+entry)) {
			return true
		}
	}
	return false
}

// Excluded are those of hosts that an environment keeps from its proxy.
func Excluded(env, hosts []string) []string {
	var out []string
	for _, host := range hosts {
		if Excludes(value(env, "no_proxy"), host) || Excludes(value(env, "NO_PROXY"), host) {
			out = append(out, host)
		}
	}
	return out
}
