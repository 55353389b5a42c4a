package h2

import (
	"bytes"
	"slices"
	"testing"
)

// heads returns the heads of the frames in b, which passes in pieces.
func heads(f *frames, b []byte, piece int) (all [][]byte) {
	for p := range slices.Chunk(b, piece) {
		f.scan(p, func(head []byte) { all = append(all, bytes.Clone(head)) })
	}
	return all
}

func TestFramesAreFoundInPieces(t *testing.T) {
	ping := append([]byte{0, 0, 8, framePing, 1, 0, 0, 0, 0}, "12345678"...)
	data := append([]byte{0, 1, 0, 0, 0, 0, 0, 0, 1}, bytes.Repeat([]byte{framePing}, 256)...)
	settings := []byte{0, 0, 0, 4, 0, 0, 0, 0, 0}
	passed := slices.Concat([]byte("preface"), ping, data, settings, ping[:12])
	for piece := range len(passed) {
		var f frames
		f.skip(len("preface"))
		got := heads(&f, passed, piece+1)[1:]
		if len(got) != 3 || !bytes.Equal(got[0], ping) || !bytes.Equal(got[1], data[:frameHeader+8]) || !bytes.Equal(got[2], settings) {
			t.Errorf("in pieces of %d bytes: got %x", piece+1, got)
		}
		if f.between() {
			t.Error("the last frame is not complete")
		}
	}
}

// However the bytes arrive, the same frames are found.
func FuzzFrames(f *testing.F) {
	f.Add([]byte{0, 0, 8, framePing, 0, 0, 0, 0, 0, 1, 2, 3, 4, 5, 6, 7, 8, 0, 0, 0}, 4)
	f.Add([]byte{0, 0, 0, 0, 0, 0, 0, 0, 0, 0xff}, 1)
	f.Fuzz(func(t *testing.T, b []byte, piece int) {
		var whole, pieces frames
		want := heads(&whole, b, max(len(b), 1))
		got := heads(&pieces, b, max(piece, 1))
		if !slices.EqualFunc(want, got, bytes.Equal) || whole.between() != pieces.between() {
			t.Errorf("got %x, want %x", got, want)
		}
	})
}
