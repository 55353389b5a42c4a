package doctor

import (
	"context"
	"fmt"
	"strings"
)

// resolve takes the hops name and DNS, and reports whether the instance is known.
func (w *walk) resolve(ctx context.Context) bool {
	find := func() (found string, err error) {
		if w.target, err = w.Resolve(ctx); err != nil {
			return "", err
		}
		w.instance = w.target.Name()
		if len(w.target.Hosts) > 0 {
			return fmt.Sprintf("%s at %s", w.instance, strings.Join(w.target.Hosts, ", ")), nil
		}
		return w.instance, nil
	}
	if !w.DNS {
		named := w.step(ctx, HopName, "", find)
		if named {
			w.skip(HopDNS, "the name needs none")
		} else {
			w.skip(HopDNS, "no name to look up")
		}
		return named
	}
	w.step(ctx, HopName, "", func() (string, error) { return "a DNS name", nil })
	return w.step(ctx, HopDNS, w.Name, find)
}
