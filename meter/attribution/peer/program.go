package peer

import (
	"path/filepath"
	"slices"
	"strings"
)

// interpreter runs scripts: two processes of one are as different as their
// scripts. Its options say which of the arguments is the script.
type interpreter struct {
	name string // what the executable's name begins with
	// code has the letters of options whose value is code. That may have
	// anything in it, so it is never part of a name, nor is what follows.
	code string
	// values has the letters of options that take another value.
	values string
	// longCode and longValues are the same for options that are words.
	longCode, longValues []string
}

var interpreters = []interpreter{
	{"node", "ep", "rC", []string{"--eval", "--print"}, []string{"--require", "--import", "--loader", "--experimental-loader", "--conditions", "--env-file"}},
	{"bun", "ep", "r", []string{"--eval", "--print"}, []string{"--preload", "--cwd", "--env-file"}},
	{"deno", "", "", nil, nil},
	{"python", "c", "WX", nil, nil},
	{"ruby", "e", "ICrE", nil, nil},
	{"perl", "eE", "I", nil, nil},
	{"php", "rBRE", "cdz", []string{"--run", "--process-begin", "--process-code", "--process-end"}, []string{"--define", "--php-ini"}},
	{"java", "", "", nil, []string{"-cp", "-classpath", "--class-path", "-p", "--module-path"}},
}

// program names what runs by its executable and its arguments.
func program(executable string, args []string) string {
	base := filepath.Base(executable)
	i := slices.IndexFunc(interpreters, func(in interpreter) bool { return strings.HasPrefix(base, in.name) })
	if i < 0 {
		return executable
	}
	if script := interpreters[i].script(args[min(1, len(args)):]); script != "" {
		return executable + " " + script
	}
	return executable
}

// script returns the script among the arguments, or the option that stands
// before code, or "".
func (in interpreter) script(args []string) string {
	for i := 0; i < len(args); i++ {
		arg := args[i]
		if !strings.HasPrefix(arg, "-") {
			return arg
		}
		option, _, attached := strings.Cut(arg, "=")
		switch {
		case slices.Contains(in.longCode, option):
			return option
		case slices.Contains(in.longValues, option):
			if !attached {
				i++
			}
		case !strings.HasPrefix(arg, "--"):
			code, value := in.letters(arg[1:])
			if code != "" {
				return code
			}
			if value {
				i++
			}
		}
	}
	return ""
}

// letters reads a cluster of one-letter options: whether one of them is
// followed by code, or the last one takes the next argument.
func (in interpreter) letters(cluster string) (code string, value bool) {
	for i := range len(cluster) {
		switch letter := cluster[i]; {
		case strings.IndexByte(in.code, letter) >= 0:
			return "-" + string(letter), false
		case strings.IndexByte(in.values, letter) >= 0:
			return "", i == len(cluster)-1
		}
	}
	return "", false
}
