package ledger

import (
	"bytes"
	"encoding/binary"
	"encoding/json"
	"fmt"
	"hash/crc32"
	"maps"
	"math"
	"slices"
	"strings"
	"time"
)

// A journal record is
//
//	mark[4] length[4] crc[4] kind[1] payload[length]
//
// with little-endian integers. The CRC-32C covers length, kind and payload.
// The mark's first byte can occur neither in a JSON payload nor anywhere in
// UTF-8 (RFC 3629 section 1), so a reader that lost its place finds the next
// record by looking for the mark.
const (
	headSize = 13
	// maxPayload is never reached: fit bounds every field of a record.
	maxPayload = 1 << 20
)

var (
	mark       = [4]byte{0xff, 'H', 'M', 'J'}
	castagnoli = crc32.MakeTable(crc32.Castagnoli)
)

// kind is the type of a journal record.
type kind byte

const (
	kindOpening kind = 'o' // an Opening
	kindRow     kind = 'r' // a Row
	kindVoid    kind = 'v' // an Opening of which only the id is set: it was none
	kindProbe   kind = 'p' // nothing: proves that the disk takes a write
	kindRoom    kind = 'z' // nothing: zeros at the segment's end are room
)

// journaledRow is the form of a Row in the journal, where nothing may be
// missing that the database stores.
type journaledRow struct {
	Row
	RawUsage   []byte `json:"raw_usage,omitempty"`
	Tier       string `json:"tier,omitempty"`
	ErrorCode  string `json:"error_code,omitempty"`
	ResponseID string `json:"response_id,omitempty"`

	ReportedCostNanoUSD *int64 `json:"reported_cost_nano_usd,omitempty"`
	SessionID           string `json:"session_id,omitempty"`
	AgentID             string `json:"agent_id,omitempty"`
	Charges             []byte `json:"charges,omitempty"`
}

func encodeOpening(o Opening) ([]byte, error) { return encodeJSON(kindOpening, o) }

func encodeRow(r Row) ([]byte, error) {
	return encodeJSON(kindRow, journaledRow{
		r, r.RawUsage, r.Tier, r.ErrorCode, r.ResponseID,
		r.ReportedCostNanoUSD, r.SessionID, r.AgentID, r.Charges,
	})
}

func decodeRow(payload []byte) (Row, error) {
	var j journaledRow
	if err := json.Unmarshal(payload, &j); err != nil {
		return Row{}, fmt.Errorf("decode row: %w", err)
	}
	r := j.Row
	r.RawUsage, r.Tier, r.ErrorCode, r.ResponseID = j.RawUsage, j.Tier, j.ErrorCode, j.ResponseID
	r.ReportedCostNanoUSD, r.SessionID, r.AgentID, r.Charges = j.ReportedCostNanoUSD, j.SessionID, j.AgentID, j.Charges
	if r.ID == "" {
		return Row{}, fmt.Errorf("decode row: it has no id")
	}
	return fitRow(r), nil
}

func decodeOpening(payload []byte) (Opening, error) {
	var o Opening
	if err := json.Unmarshal(payload, &o); err != nil {
		return Opening{}, fmt.Errorf("decode opening: %w", err)
	}
	if o.ID == "" {
		return Opening{}, fmt.Errorf("decode opening: it has no id")
	}
	return fitOpening(o), nil
}

func encodeJSON(k kind, v any) ([]byte, error) {
	payload, err := json.Marshal(v)
	if err != nil {
		return nil, fmt.Errorf("encode journal record: %w", err)
	}
	return encodeRecord(k, payload), nil
}

func encodeRecord(k kind, payload []byte) []byte {
	rec := make([]byte, headSize+len(payload))
	copy(rec, mark[:])
	binary.LittleEndian.PutUint32(rec[4:], uint32(len(payload)))
	rec[12] = byte(k)
	copy(rec[headSize:], payload)
	binary.LittleEndian.PutUint32(rec[8:], checksum(rec))
	return rec
}

// checksum is that of the record rec, whatever its CRC field holds.
func checksum(rec []byte) uint32 {
	return crc32.Update(crc32.Checksum(rec[4:8], castagnoli), castagnoli, rec[12:])
}

// scanRecords calls emit for every intact record in data, in order. It
// returns how many stretches between, before or behind intact records could
// not be read; a torn tail is one of them, and so are zeros (which a loss of
// power leaves), unless a record said that they are room for more.
func scanRecords(data []byte, emit func(k kind, payload []byte)) (damaged int) {
	inDamage, room := false, false
	for len(data) > 0 {
		if n := intactRecord(data); n > 0 {
			inDamage = false
			room = room || kind(data[12]) == kindRoom
			emit(kind(data[12]), data[headSize:n])
			data = data[n:]
			continue
		}
		if !inDamage {
			if room && len(bytes.TrimLeft(data, "\x00")) == 0 {
				break
			}
			inDamage = true
			damaged++
		}
		next := bytes.Index(data[1:], mark[:])
		if next < 0 {
			break
		}
		data = data[1+next:]
	}
	return damaged
}

// intactRecord returns the size of the record at the start of data, or 0.
func intactRecord(data []byte) int {
	if len(data) < headSize || [4]byte(data[:4]) != mark {
		return 0
	}
	length := binary.LittleEndian.Uint32(data[4:])
	if length > maxPayload || int(length) > len(data)-headSize {
		return 0
	}
	n := headSize + int(length)
	if binary.LittleEndian.Uint32(data[8:]) != checksum(data[:n]) {
		return 0
	}
	return n
}

const (
	maxText     = 4 << 10
	maxRawUsage = 64 << 10
	maxCharges  = 16 << 10
	maxClientID = 200
	maxTools    = 64
	maxToolName = 100
	// maxCount is far above any real count, and far enough below 2^63 that
	// sums cannot overflow: SQLite's SUM fails the whole query if they do.
	maxCount = 1 << 40
	// maxCost is a million dollars, for the same reason.
	maxCost = 1_000_000 * 1_000_000_000
)

// fitText bounds a text that came from the network. Journal (JSON) and
// database (SQLite's TEXT) must agree on it, so it is made valid UTF-8.
func fitText(s string) string { return cutText(s, maxText) }

func cutText(s string, size int) string {
	// A replacement longer than one byte would make a second cut differ.
	return strings.ToValidUTF8(s[:min(len(s), size)], "?")
}

// fitTime cuts t to what the database stores.
func fitTime(t time.Time) time.Time { return time.UnixMicro(t.UnixMicro()).UTC() }

func fitProject(slug string) string {
	if slug == "" {
		return "misc"
	}
	return fitText(slug)
}

func fitOpening(o Opening) Opening {
	o.RequestedAt = fitTime(o.RequestedAt)
	o.Project = fitProject(o.Project)
	for _, s := range []*string{&o.ID, &o.ProjectSource, &o.Provider, &o.Host, &o.Path, &o.Kind, &o.Client} {
		*s = fitText(*s)
	}
	return o
}

// fitRow bounds every field of r, so that no provider's answer can make a row
// that the journal or the database refuses. A count that cannot be true is
// not knowledge, so it becomes null and the row incomplete.
func fitRow(r Row) Row {
	r.RequestedAt = fitTime(r.RequestedAt)
	r.Project = fitProject(r.Project)
	for _, s := range []*string{
		&r.ID, &r.ProjectSource, &r.Provider, &r.Host, &r.Path, &r.Model, &r.Mode, &r.Kind,
		&r.Status, &r.Client, &r.Tier, &r.ErrorCode, &r.ResponseID,
	} {
		*s = fitText(*s)
	}
	for _, s := range []**string{&r.ErrorClass, &r.CostReason, &r.RatesSource} {
		if *s != nil {
			t := fitText(**s)
			*s = &t
		}
	}
	for _, n := range []**int64{
		&r.InputTokens, &r.OutputTokens, &r.ThinkingTokens,
		&r.CacheReadTokens, &r.CacheWriteTokens, &r.CacheWrite1hTokens,
	} {
		if *n != nil && (**n < 0 || **n > maxCount) {
			*n = nil
			r.TokensComplete = false
		}
	}
	for _, f := range []**float64{&r.LatencyMS, &r.FirstByteMS} {
		if *f != nil && (math.IsNaN(**f) || math.IsInf(**f, 0)) {
			*f = nil
		}
	}
	r.ToolCalls = fitTools(r.ToolCalls)
	if len(r.RawUsage) > maxRawUsage {
		r.RawUsage = nil
	}
	r.RawUsage = bytes.ToValidUTF8(r.RawUsage, []byte("?"))
	if c := r.ReportedCostNanoUSD; c != nil && (*c < 0 || *c > maxCost) {
		r.ReportedCostNanoUSD = nil
	}
	r.SessionID, r.AgentID = cutText(r.SessionID, maxClientID), cutText(r.AgentID, maxClientID)
	if len(r.Charges) > maxCharges {
		r.Charges = nil
	}
	r.Charges = bytes.ToValidUTF8(r.Charges, []byte("?"))
	return r
}

func fitTools(calls map[string]int64) map[string]int64 {
	if len(calls) == 0 {
		return nil
	}
	fitted := make(map[string]int64, min(len(calls), maxTools))
	for _, name := range slices.Sorted(maps.Keys(calls)) {
		if len(fitted) == maxTools {
			break
		}
		fitted[cutText(name, maxToolName)] = calls[name]
	}
	return fitted
}
