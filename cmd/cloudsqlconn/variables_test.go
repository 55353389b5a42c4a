package main

import (
	"slices"
	"strings"
	"testing"
)

func TestAMisspeltVariableIsWarnedOf(t *testing.T) {
	s := newEcho(t)
	t.Setenv("CLOUDSQLCONN_TIMEOT", "20s")
	code, stdout, stderr := cli(t, newServer(t), "check", instance)
	const want = "cloudsqlconn check: the variable CLOUDSQLCONN_TIMEOT is not that of a flag, and has no effect; did you mean CLOUDSQLCONN_TIMEOUT?\n"
	if code != exitOK || stderr != want || !strings.Contains(stdout, ": ok\n") {
		t.Errorf("exit status %d, %q, want %q\n%s", code, stderr, want, stdout)
	}

	// Where there is a log, it is there.
	p := startProxy(t, s, instance+"?port=0")
	if r := p.next("the variable CLOUDSQLCONN_TIMEOT "); r.Level != "WARN" || !strings.HasSuffix(r.Msg, "did you mean CLOUDSQLCONN_TIMEOUT?") {
		t.Errorf("got %+v", r)
	}
	p.listening()
	p.wantEnd(exitOK)

	code, _, stderr = cli(t, s, "wait", "-health", freePort(t), "-timeout", "1ms")
	if code != exitFailed || !strings.HasPrefix(stderr, "cloudsqlconn wait: the variable CLOUDSQLCONN_TIMEOT ") {
		t.Errorf("exit status %d, %q", code, stderr)
	}
}

func TestWhichVariablesAreStray(t *testing.T) {
	t.Parallel()
	for variable, want := range map[string]string{
		"CLOUDSQLCONN_TOEKN=secret":      "did you mean CLOUDSQLCONN_TOKEN?",
		"CLOUDSQLCONN_SQLDATA=only":      "did you mean CLOUDSQLCONN_SQL_DATA?",
		"CLOUDSQLCONN_IPTYPES=PUBLIC":    "did you mean CLOUDSQLCONN_IP_TYPES?",
		"CLOUDSQLCONN_EMULATOR=x":        "-h lists the flags",
		"CLOUDSQLCONN_EMULATORHOST=x":    "did you mean CLOUDSQLCONN_EMULATOR_HOST?",
		"CLOUDSQLCONN_ADDRESS=127.0.0.1": "-h lists the flags",
		"CLOUDSQLCONN_PORT=5433":         "-h lists the flags",
		"CLOUDSQLCONN_=x":                "-h lists the flags",

		"CLOUDSQLCONN_TOKEN=secret":               "",
		"CLOUDSQLCONN_JSON=true":                  "", // of check
		"CLOUDSQLCONN_LISTEN=/run/db":             "", // of proxy
		"CLOUDSQLCONN_EMULATOR_HOST=localhost:1":  "",
		"CLOUDSQLCONN_TIMEOT=":                    "",
		"CLOUDSQLCONNX=1":                         "",
		"HOME=/CLOUDSQLCONN_TIMEOT=1":             "",
		"CLOUDSQLCONN_SERVICE_HOST=10.0.0.1":      "", // Kubernetes, for a service of the program's name
		"CLOUDSQLCONN_SERVICE_PORT_HTTP=9090":     "",
		"CLOUDSQLCONN_PORT=tcp://10.0.0.1:9090":   "",
		"CLOUDSQLCONN_PORT_9090_TCP_PROTO=tcp":    "",
		"CLOUDSQLCONN_DB_SERVICE_PORT=5432":       "",
		"CLOUDSQLCONN_DB_PORT_5432_TCP=tcp://1:1": "",
	} {
		got := strayVariables([]string{variable})
		if (len(got) == 1) != (want != "") || want != "" && !strings.HasSuffix(got[0], want) || strings.Contains(strings.Join(got, ""), "secret") {
			t.Errorf("%s: got %q, want %q", variable, got, want)
		}
	}
	if got := strayVariables([]string{"CLOUDSQLCONN_B=1", "CLOUDSQLCONN_A=1"}); len(got) != 2 || !slices.IsSorted(got) {
		t.Errorf("got %q", got)
	}
}

func TestDistancesOfWords(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		a, b string
		want int
	}{{"", "", 0}, {"", "ab", 2}, {"token", "token", 0}, {"tken", "token", 1}, {"token", "tokens", 1}, {"toekn", "token", 2}, {"kitten", "sitting", 3}} {
		for _, got := range []int{distance(tt.a, tt.b), distance(tt.b, tt.a)} {
			if got != tt.want {
				t.Errorf("%q and %q: got %d, want %d", tt.a, tt.b, got, tt.want)
			}
		}
	}
}

// What has no effect on one command may be for another one in the same environment.
func TestVariablesMayBeForAnotherCommand(t *testing.T) {
	for name, value := range map[string]string{"CLOUDSQLCONN_SQL_DATA_ENDPOINT": "host", "CLOUDSQLCONN_IP_TYPES": "PRIVATE", "CLOUDSQLCONN_UNLISTED_DOMAIN": "true"} {
		t.Setenv(name, value)
	}
	s := newServer(t)
	if code, stdout, stderr := cli(t, s, "check", instance); code != exitOK {
		t.Errorf("exit status %d, %s\n%s", code, stderr, stdout)
	}
	if code, _, stderr := cli(t, s, "check", "-sql-data", "only", instance); code == exitUsage {
		t.Errorf("exit status %d, %s", code, stderr)
	}
	t.Setenv("CLOUDSQLCONN_SQL_DATA", "only")
	if code, _, stderr := cli(t, s, "check", "-ip-types", "PUBLIC", instance); code != exitUsage {
		t.Errorf("exit status %d, %s", code, stderr)
	}
}
