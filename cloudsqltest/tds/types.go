package tds

import (
	"fmt"
	"math"
	"math/big"
)

// Data types in TYPE_INFO, [MS-TDS] 2.2.5.4.
const (
	tokNull           = 0x1f
	tokGUID           = 0x24
	tokIntN           = 0x26
	tokDateN          = 0x28
	tokTimeN          = 0x29
	tokDateTime2N     = 0x2a
	tokDateTimeOffset = 0x2b
	tokBitN           = 0x68
	tokDecimalN       = 0x6a
	tokNumericN       = 0x6c
	tokFloatN         = 0x6d
	tokMoneyN         = 0x6e
	tokDateTimeN      = 0x6f
	tokVarBinary      = 0xa5
	tokVarChar        = 0xa7
	tokBinary         = 0xad
	tokChar           = 0xaf
	tokNVarChar       = 0xe7
	tokNChar          = 0xef
)

// maxLength in place of a length means "max", values in parts, in TYPE_INFO,
// and NULL before a value.
const maxLength = 0xffff

// typeInfo is a TYPE_INFO.
type typeInfo struct {
	tok   byte
	size  int
	scale byte
}

func (r *reader) typeInfo() (t typeInfo) {
	t.tok = r.byte()
	switch t.tok {
	case tokNull, tokDateN:
	case tokGUID, tokIntN, tokBitN, tokFloatN, tokMoneyN, tokDateTimeN:
		t.size = int(r.byte())
	case tokDecimalN, tokNumericN:
		t.size = int(r.byte())
		r.byte() // precision
		t.scale = r.byte()
	case tokTimeN, tokDateTime2N, tokDateTimeOffset:
		t.scale = r.byte()
		if t.scale > 7 {
			r.fail("a time with %d digits behind the seconds", t.scale)
		}
	case tokVarBinary, tokBinary:
		t.size = int(r.uint16())
	case tokVarChar, tokChar, tokNVarChar, tokNChar:
		t.size = int(r.uint16())
		r.bytes(5) // collation
	default:
		r.fail("a parameter of type %#02x, which is not known here", t.tok)
	}
	return t
}

// value reads the value of a parameter, and returns it with the SQL name of its
// type.
func (r *reader) value(t typeInfo) (name string, v any) {
	var b []byte
	null := true
	switch {
	case t.tok == tokNull:
	case t.tok >= tokVarBinary && t.size == maxLength:
		b, null = r.parts()
	case t.tok >= tokVarBinary:
		if n := r.uint16(); n != maxLength {
			b, null = r.bytes(int(n)), false
		}
	default:
		if n := r.byte(); n != 0 {
			b, null = r.bytes(int(n)), false
		}
	}
	if r.err != nil {
		return "", nil
	}
	name, v, ok := decode(t, b)
	if !ok && !null {
		r.fail("a %s of %d bytes", name, len(b))
	}
	if null || !ok {
		v = nil
	}
	return name, v
}

// parts reads a value that comes in parts (PLP).
func (r *reader) parts() (b []byte, null bool) {
	if r.uint(8) == math.MaxUint64 {
		return nil, true
	}
	for r.err == nil {
		n := r.uint32()
		if n == 0 {
			break
		}
		b = append(b, r.bytes(int(n))...)
	}
	return b, false
}

// decode returns the name of a type, and what b is as its value.
func decode(t typeInfo, b []byte) (name string, v any, ok bool) {
	num := reader{data: b}
	switch n := len(b); t.tok {
	case tokNull:
		return "null", nil, true
	case tokIntN:
		name = map[int]string{1: "tinyint", 2: "smallint", 4: "int", 8: "bigint"}[t.size]
		u := num.uint(n)
		switch n {
		case 1:
			return name, int64(u), true
		case 2:
			return name, int64(int16(u)), true
		case 4:
			return name, int64(int32(u)), true
		}
		return name, int64(u), n == 8
	case tokBitN:
		return "bit", num.uint(n) != 0, n == 1
	case tokFloatN:
		if t.size == 4 {
			return "real", float64(math.Float32frombits(num.uint32())), n == 4
		}
		return "float", math.Float64frombits(num.uint(8)), n == 8
	case tokDecimalN, tokNumericN:
		if n < 1 || n > 17 {
			return "decimal", nil, false
		}
		return "decimal", decimalText(num.byte() == 0, num.data, t.scale), true
	case tokMoneyN:
		high := int64(int32(num.uint32()))
		if n == 8 {
			high = high<<32 | int64(num.uint32())
		}
		return "money", new(big.Rat).SetFrac64(high, 10000).FloatString(4), n == 4 || n == 8
	case tokGUID:
		if n != 16 {
			return "uniqueidentifier", nil, false
		}
		return "uniqueidentifier", guidText(b), true
	case tokDateN, tokTimeN, tokDateTime2N, tokDateTimeOffset, tokDateTimeN:
		return decodeTime(t, b)
	case tokVarBinary, tokBinary:
		return "varbinary", append([]byte{}, b...), true
	case tokVarChar, tokChar:
		return "varchar", string(b), true
	}
	return "nvarchar", text(b), len(b)%2 == 0
}

// decimalText writes a number as people do. Its digits are the lowest first.
func decimalText(negative bool, digits []byte, scale byte) string {
	b := make([]byte, len(digits))
	for i, d := range digits {
		b[len(b)-1-i] = d
	}
	v := new(big.Rat).SetFrac(new(big.Int).SetBytes(b), pow10(scale))
	if negative {
		v.Neg(v)
	}
	return v.FloatString(int(scale))
}

func pow10(n byte) *big.Int {
	return new(big.Int).Exp(big.NewInt(10), big.NewInt(int64(n)), nil)
}

// guidText writes a uniqueidentifier; its first three groups have their lowest
// byte first.
func guidText(b []byte) string {
	return fmt.Sprintf("%X-%X-%X-%X-%X", []byte{b[3], b[2], b[1], b[0]}, []byte{b[5], b[4]}, []byte{b[7], b[6]}, b[8:10], b[10:])
}
