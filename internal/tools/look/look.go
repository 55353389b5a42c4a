// Package look is what makes the plots of this repository look alike. The modules bench
// and interop draw them, each in its own way; it knows nothing of how, and needs nothing
// but the standard library.
package look

import "image/color"

// The colours of what is compared; also those who cannot tell red from green see them
// apart. The pages are white, since the text is black, whatever surrounds them.
var (
	Page   = color.RGBA{0xff, 0xff, 0xff, 0xff}
	Ours   = color.RGBA{0x00, 0x72, 0xb2, 0xff} // this library
	Google = color.RGBA{0xe6, 0x9f, 0x00, 0xff} // what Google publishes
	Bare   = color.RGBA{0x99, 0x99, 0x99, 0xff} // what is there without either
	Direct = color.RGBA{0xcc, 0xcc, 0xcc, 0xff} // a connection without a hop
)

// Fonts is the font family of all text, as SVG has it: few have the first one.
const Fonts = "Liberation Sans,Arial,Helvetica,sans-serif"

// In points: the size of all text, that of a title, and the width of a plot, 18 cm.
const (
	TextSize  = 10
	TitleSize = 12
	Width     = 18 * 72 / 2.54
)
