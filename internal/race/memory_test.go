package race_test

import (
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/cloudsqlconn/cloudsqlconn/internal/race"
)

func TestDeferredHostsComeLastForAWhile(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		var m race.Memory
		want := func(order string) {
			t.Helper()
			hosts, fresh := m.Order([]string{"a", "b", "c"})
			hosts = slices.Insert(hosts, fresh, "|")
			if got := strings.Join(hosts, ""); got != order {
				t.Errorf("the order is %s, want %s", got, order)
			}
		}
		want("abc|")
		m.Defer(time.Minute, "a", "b")
		want("c|ab")
		time.Sleep(30 * time.Second)
		m.Defer(time.Minute, "c")
		want("|abc")
		time.Sleep(30 * time.Second)
		want("ab|c")
		m.Defer(time.Minute)
		m.Defer(time.Minute, "a")
		want("b|ac")
		m.Good("c")
		want("bc|a")
		m.Forget()
		want("abc|")
	})
}
