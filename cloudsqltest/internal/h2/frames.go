package h2

// What is looked for in frames.
const (
	framePing       = 6
	frameGoAway     = 7
	enhanceYourCalm = 11
)

// frames finds the HTTP/2 frames in what passes.
type frames struct {
	head []byte // of a frame: its header, and up to 8 bytes more
	rest int    // of the frame, after what has passed
}

const frameHeader = 9

// skip takes the next n bytes for a frame that is none.
func (f *frames) skip(n int) { f.head, f.rest = make([]byte, frameHeader), n }

// between reports whether no frame has passed in part.
func (f *frames) between() bool { return len(f.head) == 0 && f.rest == 0 }

// scan calls found with the head of each frame that is complete with b.
func (f *frames) scan(b []byte, found func(head []byte)) {
	for len(b) > 0 {
		if f.rest == 0 {
			n := min(len(b), frameHeader-len(f.head))
			f.head, b = append(f.head, b[:n]...), b[n:]
			if len(f.head) < frameHeader {
				return
			}
			f.rest = int(f.head[0])<<16 | int(f.head[1])<<8 | int(f.head[2])
		} else {
			n := min(len(b), f.rest)
			f.head = append(f.head, b[:min(n, frameHeader+8-len(f.head))]...)
			f.rest, b = f.rest-n, b[n:]
		}
		if f.rest == 0 {
			found(f.head)
			f.head = f.head[:0]
		}
	}
}
