package starved

import (
	"testing"
	"time"
)

func TestADialIsToSucceedIfItHadTimeAndAWay(t *testing.T) {
	t.Parallel()
	const second = time.Second
	always := spans{{0, time.Hour}}
	starved := spans{} // a tenth of the time
	for at := time.Duration(0); at < 100*second; at += 100 * ms {
		starved = append(starved, span{at, at + 10*ms})
	}
	moved := fault{Instance: "a", Kind: "moved", From: 10 * second, To: 11 * second, Settle: 4 * second}
	for name, tt := range map[string]struct {
		from, to       time.Duration
		instance       string
		ended          bool
		client, server spans
		guilty         bool
	}{
		"before any fault":                     {from: 5 * second, to: 6 * second, guilty: true},
		"began before the fault":               {from: 9 * second, to: 10 * second},
		"during the fault":                     {from: 10 * second, to: 11 * second},
		"before it is settled":                 {from: 14 * second, to: 17 * second},
		"once it is settled":                   {from: 15 * second, to: 16 * second, guilty: true},
		"of another instance":                  {from: 10 * second, to: 11 * second, instance: "b", guilty: true},
		"its context ended, with time":         {from: 20 * second, to: 21 * second, ended: true, guilty: true},
		"its context ended, with little time":  {from: 20 * second, to: 20*second + 400*ms, ended: true},
		"its context ended, starved":           {from: 50 * second, to: 53 * second, ended: true, client: starved},
		"its context ended, servers starved":   {from: 50 * second, to: 53 * second, ended: true, server: starved},
		"refused, starved":                     {from: 50 * second, to: 50*second + 10*ms, client: starved, guilty: true},
		"too starved to have found it out yet": {from: 20 * second, to: 21 * second, client: starved},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := &witness{faults: []fault{moved}, client: always, server: always}
			if tt.client != nil {
				w.client = tt.client
			}
			if tt.server != nil {
				w.server = tt.server
			}
			f := failure{Instance: "a", From: tt.from, To: tt.to, Ended: tt.ended}
			if tt.instance != "" {
				f.Instance = tt.instance
			}
			if got := w.accuse(f); (got != "") != tt.guilty {
				t.Errorf("got %q, want an accusation: %v", got, tt.guilty)
			}
		})
	}
}
