package cloudsqltest_test

import (
	"testing"
	"time"

	"google.golang.org/grpc/codes"

	"github.com/cloudsqlconn/cloudsqlconn/cloudsqltest"
)

func TestRulesAreForStreamsToo(t *testing.T) {
	streamsInMemory(t, cloudsqltest.Instance{}, cloudsqltest.SQLDataConfig{}, func(t *testing.T, c *streams) {
		for text, want := range map[string]codes.Code{
			"call=streamSqlData,kind=status,status=429,body=enough,times=1":          codes.ResourceExhausted,
			"call=streamSqlData,kind=status,status=412,times=1":                      codes.FailedPrecondition,
			"call=streamSqlData,kind=status,status=418,times=1":                      codes.Unknown,
			"call=streamSqlData,kind=status,status=200,times=1":                      codes.OK,
			"instance=my-project:europe-west1:my-db,kind=status,status=503,delay=2s": codes.Unavailable,
		} {
			rule := must(cloudsqltest.ParseRule(text))
			active := must(c.s.AddRule(rule))
			start := time.Now()
			c.start(session()).wantEnd(want, rule.Body)
			took(t, start, rule.Delay)
			if active.Hits() != 1 {
				t.Errorf("%s: %d hits", text, active.Hits())
			}
			active.Remove()
		}
		for _, text := range []string{"instance=my-project:europe-west1:other,kind=hang", "call=connect,kind=silent", "call=connectSettings,kind=hang", "kind=truncate"} {
			_ = must(c.s.AddRule(must(cloudsqltest.ParseRule(text))))
		}
		c.open().echo()
		for _, text := range []string{"call=streamSqlData,kind=truncate", "call=streamSqlData,kind=silent", "call=streamSqlData,kind=status,status=503,header=A: b"} {
			if _, err := cloudsqltest.ParseRule(text); err == nil {
				t.Errorf("%s is accepted", text)
			}
		}
	})
}
