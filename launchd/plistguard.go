package launchd

import (
	"bytes"
	"encoding/binary"
	"encoding/xml"
	"errors"
	"fmt"
	"io"

	"howett.net/plist"
)

const (
	maxPlistBytes = 1 << 20
	maxPlistDepth = 64
	// maxPlistWeight bounds what a binary plist grows to when every reference
	// to an object is followed: 16 for each value and its text or data.
	maxPlistWeight = 8 * maxPlistBytes
)

var (
	errTooBig  = fmt.Errorf("larger than %d bytes", maxPlistBytes)
	errTooDeep = fmt.Errorf("nested deeper than %d levels", maxPlistDepth)
	errCorrupt = errors.New("binary property list is corrupt")
)

// decodeDict decodes a property list from a file that nobody vouches for. The
// plist package recurses without a limit, follows shared references of binary
// lists again and again, and takes nearly any text for an OpenStep list, so
// the checks come before it.
func decodeDict(data []byte) (dict map[string]any, err error) {
	defer func() {
		// It also lets runtime errors of its parsers through as panics.
		if r := recover(); r != nil {
			dict, err = nil, fmt.Errorf("malformed property list: %v", r)
		}
	}()
	if len(data) > maxPlistBytes {
		return nil, errTooBig
	}
	if bytes.HasPrefix(data, []byte("bplist")) {
		// It returns strings that alias the input.
		data = bytes.Clone(data)
		err = guardBinary(data)
	} else {
		err = guardXML(data)
	}
	if err != nil {
		return nil, err
	}
	var v any
	format, err := plist.Unmarshal(data, &v)
	if err != nil {
		return nil, err
	}
	if format != plist.XMLFormat && format != plist.BinaryFormat {
		return nil, errors.New("neither an XML nor a binary property list")
	}
	dict, ok := v.(map[string]any)
	if !ok {
		return nil, errors.New("the root is not a dictionary")
	}
	return dict, nil
}

func guardXML(data []byte) error {
	text := bytes.TrimLeft(bytes.TrimPrefix(data, []byte("\xef\xbb\xbf")), " \t\r\n")
	if !bytes.HasPrefix(text, []byte("<")) {
		return errors.New("neither an XML nor a binary property list")
	}
	// RawToken keeps no stack of open elements, so depth costs no memory.
	dec := xml.NewDecoder(bytes.NewReader(data))
	for depth := 0; ; {
		tok, err := dec.RawToken()
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return fmt.Errorf("malformed property list: %w", err)
		}
		switch tok.(type) {
		case xml.StartElement:
			depth++
		case xml.EndElement:
			depth--
		}
		if depth > maxPlistDepth {
			return errTooDeep
		}
	}
}

// A binaryGuard walks the objects of a binary property list once each, and
// adds up what they would weigh if every reference were a copy. The layout is
// that of CoreFoundation's CFBinaryPList.c.
type binaryGuard struct {
	data             []byte // up to the offset table
	table            []byte
	offSize, refSize int
	seen             map[uint64]extent
}

type extent struct {
	weight, height int
	open           bool
}

func guardBinary(data []byte) error {
	const header, trailer = 8, 32
	if len(data) < header+trailer+1 {
		return errCorrupt
	}
	end := data[len(data)-trailer:]
	count, top, table := binary.BigEndian.Uint64(end[8:]), binary.BigEndian.Uint64(end[16:]), binary.BigEndian.Uint64(end[24:])
	g := binaryGuard{offSize: int(end[6]), refSize: int(end[7]), seen: map[uint64]extent{}}
	body := uint64(len(data) - trailer) // at least header and 1, as checked above
	if g.offSize < 1 || g.offSize > 8 || g.refSize < 1 || g.refSize > 8 ||
		table < header || table > body || count > body || count*uint64(g.offSize) > body-table {
		return errCorrupt
	}
	g.data, g.table = data[:table], data[table:table+count*uint64(g.offSize)]
	_, err := g.measure(top, 1)
	return err
}

func (g *binaryGuard) measure(ref uint64, depth int) (extent, error) {
	e, ok := g.seen[ref]
	switch {
	case e.open:
		return e, fmt.Errorf("%w: a collection holds itself", errCorrupt)
	case depth+e.height > maxPlistDepth:
		return e, errTooDeep
	case ok:
		return e, nil
	case ref >= uint64(len(g.table)/g.offSize): // a length
		return e, errCorrupt
	}
	g.seen[ref] = extent{open: true}
	off := uint(ref) * uint(g.offSize)
	size, refs, err := g.object(bigEndian(g.table[off : off+uint(g.offSize)]))
	if err != nil {
		return e, err
	}
	e = extent{weight: 16 + size}
	for len(refs) > 0 {
		child, err := g.measure(bigEndian(refs[:g.refSize]), depth+1)
		if err != nil {
			return e, err
		}
		refs = refs[g.refSize:]
		e.height = max(e.height, child.height+1)
		e.weight += child.weight
		if e.weight > maxPlistWeight {
			return e, errors.New("binary property list grows too large through shared objects")
		}
	}
	g.seen[ref] = e
	return e, nil
}

// object returns the size of a text or data object, or the references that a
// collection holds.
func (g *binaryGuard) object(off uint64) (size int, refs []byte, err error) {
	if off >= uint64(len(g.data)) {
		return 0, nil, errCorrupt
	}
	rest := g.data[off:]
	kind, count := rest[0]>>4, uint64(rest[0]&0x0F)
	rest = rest[1:]
	var unit uint64
	switch kind {
	case 0x4, 0x5:
		unit = 1
	case 0x6:
		unit = 2
	case 0xA:
		unit = uint64(g.refSize) // 1 to 8, see guardBinary
	case 0xD:
		unit = 2 * uint64(g.refSize) // as above
	default:
		return 0, nil, nil
	}
	if count == 0x0F {
		if len(rest) == 0 || rest[0]>>4 != 1 || rest[0]&0x0F > 3 {
			return 0, nil, errCorrupt
		}
		n := 1 << (rest[0] & 0x0F)
		if len(rest) < 1+n {
			return 0, nil, errCorrupt
		}
		count, rest = bigEndian(rest[1:1+n]), rest[1+n:]
	}
	if count > uint64(len(rest))/unit {
		return 0, nil, errCorrupt
	}
	body := rest[:count*unit]
	if kind == 0xA || kind == 0xD {
		return 0, body, nil
	}
	return len(body), nil, nil
}

func bigEndian(b []byte) (n uint64) {
	for _, c := range b {
		n = n<<8 | uint64(c)
	}
	return n
}
