package admin

import "context"

// Trace is told what happens in the calls that are made with its context, from
// many goroutines at once. Nil functions are not called.
type Trace struct {
	// Failed is told why a try failed that another one may follow.
	Failed func(error)

	// Hedged is told that a call was made a second time, since it had not been
	// answered.
	Hedged func()
}

type traceKey struct{}

// WithTrace returns ctx with t.
func WithTrace(ctx context.Context, t Trace) context.Context {
	return context.WithValue(ctx, traceKey{}, t)
}

func traceOf(ctx context.Context) Trace {
	t, _ := ctx.Value(traceKey{}).(Trace)
	return t
}

func (t Trace) failed(err error) {
	if t.Failed != nil {
		t.Failed(err)
	}
}

func (t Trace) hedged() {
	if t.Hedged != nil {
		t.Hedged()
	}
}
