package cloudsqltest_test

import (
	"bytes"
	"log/slog"
	"net"
	"slices"
	"strings"
	"testing"

	"github.com/cloudsqlconn/cloudsqlconn/cloudsqltest"
)

func TestRulesForRequestsHappen(t *testing.T) {
	for _, tt := range []struct {
		rule  string
		check func(o outcome) bool
	}{
		{"kind=delay,delay=1s", func(o outcome) bool { return o.err == nil && o.resp.StatusCode == 200 }},
		{"kind=status,status=503", func(o outcome) bool { return o.err == nil && o.resp.StatusCode == 503 }},
		{"instance=" + instanceName + ",call=connectSettings,kind=status,status=429,body=slow down,header=Retry-After: 30", func(o outcome) bool {
			return o.err == nil && o.resp.StatusCode == 429 && string(o.body) == "slow down" && o.resp.Header.Get("Retry-After") == "30"
		}},
		{"kind=body,body={}", func(o outcome) bool { return o.err == nil && o.resp.StatusCode == 200 && string(o.body) == "{}" }},
		{"kind=header,header=x-test:yes", func(o outcome) bool { return o.err == nil && o.resp.Header.Get("X-Test") == "yes" && len(o.body) > 100 }},
		{"kind=truncate", func(o outcome) bool {
			return o.err == nil && o.body[0] == '{' && !bytes.HasSuffix(o.body, []byte("}\n"))
		}},
		{"kind=reset-at-start", func(o outcome) bool { return o.err != nil && o.resp == nil }},
		{"kind=reset-in-headers", func(o outcome) bool { return o.err != nil && o.resp == nil }},
		{"kind=reset-in-body", func(o outcome) bool { return o.err != nil && o.resp != nil }},
		{"kind=end-at-start", func(o outcome) bool { return o.err != nil && o.resp == nil }},
		{"kind=end-in-headers", func(o outcome) bool { return o.err != nil && o.resp == nil }},
		{"kind=end-in-body", func(o outcome) bool { return o.err != nil && o.resp != nil }},
	} {
		t.Run(tt.rule, func(t *testing.T) {
			inMemory(t, cloudsqltest.Instance{}, func(t *testing.T, c *client) {
				rule, err := c.s.AddRule(must(cloudsqltest.ParseRule(tt.rule)))
				wantNil(t, err)
				var o outcome
				o.resp, o.body, o.err = c.send(t.Context(), "GET", instancePath+"/connectSettings", "")
				if rule.Hits() != 1 {
					t.Errorf("%d hits, want 1", rule.Hits())
				}
				if !tt.check(o) {
					t.Errorf("got %v %q, error %v", o.resp, o.body, o.err)
				}
				rule.Remove()
				c.settings()
				if rule.Hits() != 1 || len(c.s.Rules()) != 0 {
					t.Errorf("%d hits after Remove, rules %v", rule.Hits(), c.s.Rules())
				}
			})
		})
	}
}

func TestRulesForConnectionsHappen(t *testing.T) {
	for _, kind := range []string{"silent", "stall-handshake", "close-at-once", "reset-at-once", "unreachable"} {
		t.Run(kind, func(t *testing.T) {
			inMemory(t, cloudsqltest.Instance{Nodes: make([]cloudsqltest.Node, 1)}, func(t *testing.T, c *client) {
				rule, err := c.s.AddRule(cloudsqltest.Rule{Kind: kind, Times: 1})
				wantNil(t, err)
				config := c.config()
				if _, err := c.connect(config); err == nil {
					t.Error("the handshake succeeded")
				}
				if n := c.p.Counts(); rule.Hits() != 1 || n.Silent+n.Stalled+n.Dropped != 1 {
					t.Errorf("%d hits, want 1; %+v", rule.Hits(), n)
				}
				defer c.mustConnect(config).Close()
				if rule.Hits() != 1 {
					t.Errorf("%d hits, want 1", rule.Hits())
				}
			})
		})
	}
}

func TestRulesApplyWhereTheySay(t *testing.T) {
	inMemory(t, cloudsqltest.Instance{}, func(t *testing.T, c *client) {
		var rules []*cloudsqltest.ActiveRule
		for _, text := range []string{
			"instance=my-project:europe-west1:other,kind=hang",
			"call=generateEphemeralCert,kind=hang",
			"call=connect,kind=silent",
			"times=1,kind=status,status=500",
			"kind=status,status=502",
		} {
			rules = append(rules, must(c.s.AddRule(must(cloudsqltest.ParseRule(text)))))
		}
		for _, want := range []int{500, 502, 502} {
			if got, _ := c.status(instancePath+"/connectSettings", c.s.Token()); got != want {
				t.Errorf("status %d, want %d", got, want)
			}
		}
		var hits []int
		for _, r := range rules {
			hits = append(hits, r.Hits())
		}
		if want := []int{0, 0, 0, 1, 2}; !slices.Equal(hits, want) {
			t.Errorf("hits %v, want %v", hits, want)
		}
	})
}

func TestRuleHappensAsOftenAsItSays(t *testing.T) {
	inMemory(t, cloudsqltest.Instance{}, func(t *testing.T, c *client) {
		rule := must(c.s.AddRule(cloudsqltest.Rule{Kind: "status", Status: 503, Probability: 0.5}))
		const n = 400
		for range n {
			c.status(instancePath+"/connectSettings", c.s.Token())
		}
		if got := rule.Hits(); got < n/4 || got > 3*n/4 { // 10 standard deviations
			t.Errorf("%d of %d requests failed, want about half", got, n)
		}
	})
}

func TestOnConnectDecidesBeforeRules(t *testing.T) {
	inMemory(t, cloudsqltest.Instance{}, func(t *testing.T, c *client) {
		behavior := cloudsqltest.CloseAtOnce
		c.s.OnConnect = func(p *cloudsqltest.EmulatedInstance) cloudsqltest.Behavior {
			if p != c.p {
				t.Errorf("called for %v", p)
			}
			return behavior
		}
		rule := must(c.s.AddRule(cloudsqltest.Rule{Kind: "silent"}))
		config := c.config()
		if _, err := c.connect(config); err == nil || rule.Hits() != 0 || c.p.Counts().Dropped != 1 {
			t.Errorf("got %v, %d hits, %+v", err, rule.Hits(), c.p.Counts())
		}
		rule.Remove()
		behavior = cloudsqltest.Healthy
		defer c.mustConnect(config).Close()
	})
}

func TestWrongRulesAreRefused(t *testing.T) {
	t.Parallel()
	for text, want := range map[string]string{
		"":                                    "want key=value once",
		"kind":                                "want key=value once",
		"kind=hang,kind=hang":                 "want key=value once",
		"colour=red":                          "unknown key; want instance,",
		"kind=explode":                        "unknown kind; want delay, hang,",
		"call=connectSettings":                "unknown kind",
		"call=drop,kind=hang":                 "unknown call; want connectSettings,",
		"call=connect,kind=hang":              "the call connect has no fault of this kind",
		"call=connectSettings,kind=silent":    "no fault of this kind",
		"kind=hang,probability=2":             "probability: want above 0, at most 1",
		"kind=hang,probability=0":             "probability: want above 0",
		"kind=hang,probability=NaN":           "probability: want above 0",
		"kind=hang,times=-1":                  "cannot be negative",
		"kind=hang,times=x":                   "times: ",
		"kind=delay":                          "kind delay needs delay, such as delay=2s",
		"kind=delay,delay=5":                  "delay: ",
		"kind=status":                         "kind status needs status, such as status=503",
		"kind=status,status=42":               "want 200 to 599",
		"kind=hang,status=500":                "status is for the kind status",
		"kind=delay,delay=1s,body=x":          "body is for the kinds status and body",
		"kind=body":                           "kind body needs body, such as body={}",
		"kind=header":                         "kind header needs header, such as header=Name: value",
		"kind=header,header=none":             "header: want one line",
		"kind=silent,delay=1s":                "delay and header are for requests",
		"kind=hang,instance=my-project:my-db": "instance: ",
	} {
		r, err := cloudsqltest.ParseRule(text)
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("ParseRule(%q) = %v, %v, want an error with %q", text, r, err, want)
		}
	}
}

func FuzzParseRule(f *testing.F) {
	f.Add("instance=" + instanceName + ",call=connectSettings,probability=0.25,times=2,kind=status,delay=1s,status=503,body=b,header=A: b")
	f.Add("kind=silent")
	f.Fuzz(func(t *testing.T, text string) {
		r, err := cloudsqltest.ParseRule(text)
		if err != nil {
			return
		}
		again, err := cloudsqltest.ParseRule(r.String())
		if err != nil || again != r {
			t.Errorf("%q becomes %q, and that %+v, %v, want %+v", text, r, again, err, r)
		}
	})
}

func TestLoggerIsToldOfRequestsConnectionsAndFaults(t *testing.T) {
	inMemory(t, cloudsqltest.Instance{Handler: func(net.Conn) {}}, func(t *testing.T, c *client) {
		var log bytes.Buffer
		c.s.Logger = slog.New(slog.NewTextHandler(&log, &slog.HandlerOptions{Level: slog.LevelDebug}))
		config := c.config()
		conn, err := c.connect(config)
		wantNil(t, err)
		_, _ = conn.Read(make([]byte, 1))
		_ = conn.Close()
		_ = must(c.s.AddRule(cloudsqltest.Rule{Kind: "close-at-once", Times: 1}))
		_ = must(c.s.AddRule(cloudsqltest.Rule{Kind: "status", Status: 503}))
		_, _ = c.connect(config)
		c.status(instancePath+"/connectSettings", c.s.Token())
		c.s.Close()
		for _, want := range []string{
			`msg="API request" method=GET path=` + instancePath + `/connectSettings status=200 client=`,
			`msg=connection instance=` + instanceName + ` client=`, `iam=false`, `msg="connection ended"`,
			`fault="times=1,kind=close-at-once"`, `status=503`, `fault="kind=status,status=503"`,
		} {
			if !strings.Contains(log.String(), want) {
				t.Errorf("the log has no %s:\n%s", want, log.String())
			}
		}
		if strings.Contains(log.String(), c.s.Token()) {
			t.Error("the log has the token")
		}
	})
}
