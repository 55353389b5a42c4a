package doctor

import (
	"bytes"
	"io"
	"strings"
	"testing"
)

// FuzzFirstBytes greets databases that answer anything.
func FuzzFirstBytes(f *testing.F) {
	for _, answer := range []string{"N", "S", "E", "\x0c\x00\x00\x00\x0a8.0.41\x00\x01\x02\x03\x04", "\x17\x00\x00\x00\xff\x10\x04Too many connections", "\x01\x00\x00\x00\xff", "\x00\x00\x00\x00\x0a", "\xff\xff\xff\x00\x0a", "\x04\x01\x00\x09\x00\x00\x01\x00\xff", "SSH-2.0-x\r\n", ""} {
		f.Add(answer)
	}
	f.Fuzz(func(t *testing.T, answer string) {
		for _, engine := range []string{"POSTGRES_16", "MYSQL_8_0", "SQLSERVER_2022_STANDARD"} {
			var sent bytes.Buffer
			found, err := firstBytes(engine)(struct {
				io.Reader
				io.Writer
			}{strings.NewReader(answer), &sent})
			if (err == nil) != (found != "") || len(found) > 600 {
				t.Errorf("%s: %q, %v", engine, found, err)
			}
			if err != nil && (len(err.Error()) > 2000 || strings.ContainsAny(err.Error(), "\x00\x1b\r\n")) {
				t.Errorf("%s: the error is %q", engine, err)
			}
			if n := sent.Len(); engine == "MYSQL_8_0" && n > 0 || n > 26 {
				t.Errorf("%s: %d bytes were sent", engine, n)
			}
		}
	})
}
