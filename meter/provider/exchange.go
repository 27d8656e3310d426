package provider

import (
	"bytes"
	"cmp"
	"encoding/json"
	"fmt"
	"maps"
	"math"
	"strconv"
	"strings"
)

// maxRawUsage bounds the usage object that is kept; real ones are below 2 KiB.
const maxRawUsage = 64 << 10

// maxCount is more than any exchange can consume. Counts above it are a
// fault; below it, sums and prices stay far from overflow.
const maxCount = 1 << 40

// exchange is what the parsers of all formats have in common: the request's
// wishes, the response's facts, and the faults found in them.
type exchange struct {
	requested, model string
	stream, thinking bool
	requestTier      string
	tier             string
	id               string
	raw              json.RawMessage
	reported         *ReportedCost
	errorClass       string
	errorCode        string
	// fault is the first thing that makes the counts doubtful.
	fault string
}

// readRequest reads what all formats' requests share, and calls more with
// each top-level member.
func (x *exchange) readRequest(body []byte, more func(key, value []byte)) {
	if bytes.HasPrefix(body, []byte("--")) {
		x.readForm(body)
		return
	}
	fields(body, func(key, value []byte) {
		switch string(key) {
		case "model":
			x.requested = cmp.Or(text(value), x.requested)
		case "stream":
			x.stream = isTrue(value)
		case "service_tier":
			x.requestTier = text(value)
		}
		if more != nil {
			more(key, value)
		}
	})
}

// readError reads the error that a body tells, if status or body tell one.
func (x *exchange) readError(status int, body []byte) {
	if e := member(body, "error"); e != nil && !isNull(e) {
		x.fail(status, e)
		return
	}
	if status >= 400 {
		x.fail(status, nil)
	}
}

// eventKind is what an event of a stream is: its name, or the type that its
// data repeat, where a relay has dropped the names. An event without a name is
// a "message" (https://html.spec.whatwg.org/multipage/server-sent-events.html),
// and some relays write that.
func eventKind(name string, data []byte) string {
	if name == "" || name == "message" {
		return text(member(data, "type"))
	}
	return name
}

// fail notes the error object e, which may be anything else, or nil.
func (x *exchange) fail(status int, e []byte) {
	// Google has a number as the code, and the name of the error as the status.
	x.failAs(status, member(e, "code"), cmp.Or(text(member(e, "type")), text(member(e, "status"))))
}

// failAs notes an error. The provider's code is more precise than its kind,
// where there are both; it may be a number.
func (x *exchange) failAs(status int, code []byte, kind string) {
	x.errorCode = cmp.Or(text(code), kind)
	if x.errorCode == "" && len(code) > 0 && len(code) < maxText && code[0] >= '0' && code[0] <= '9' {
		x.errorCode = string(code)
	}
	x.errorClass = cmp.Or(ClassifyError(status, x.errorCode), classUnknown)
	if x.errorClass == classUnknown && kind != "" {
		x.errorClass = cmp.Or(ClassifyError(status, kind), classUnknown)
	}
	if n, err := strconv.Atoi(string(code)); x.errorClass == classUnknown && err == nil {
		// What would have been the status, had the stream not begun.
		x.errorClass = cmp.Or(statusClass(n), classUnknown)
	}
}

// keepRaw keeps a copy of the usage object, if it is valid JSON, and reports
// whether it is.
func (x *exchange) keepRaw(usage []byte) bool {
	if len(usage) == 0 || usage[0] != '{' || !json.Valid(usage) {
		x.doubt("the usage is not a JSON object")
		return false
	}
	if len(usage) <= maxRawUsage {
		x.raw = bytes.Clone(usage)
	}
	return true
}

// doubt notes why the counts cannot be final.
func (x *exchange) doubt(format string, args ...any) {
	if x.fault == "" {
		x.fault = fmt.Sprintf(format, args...)
	}
}

// count sets *n to the count that value is. It leaves *n alone, and reports
// false, if value is null; a value that is no count is a fault and counts
// nothing, since clamping an absurd number would still bill an absurd one.
func (x *exchange) count(n *int64, name string, value []byte) bool {
	if len(value) == 0 || isNull(value) {
		return false
	}
	v, err := strconv.ParseInt(string(value), 10, 64)
	if err != nil {
		// Some encoders write whole numbers as 12.0 or 1.2e1.
		f, ferr := strconv.ParseFloat(string(value), 64)
		if ferr != nil || f != math.Trunc(f) || math.Abs(f) > maxCount {
			v = -1
		} else {
			v = int64(f)
		}
	}
	if v < 0 || v > maxCount {
		x.doubt("%s is not a plausible count", name)
		v = 0
	}
	*n = v
	return true
}

// result assembles the Result from the charges. An exchange without charges
// named no usage, and reason says why.
func (x *exchange) result(charges []Charge, complete bool, reason string) Result {
	r := Result{
		Model:          cmp.Or(x.model, x.requested),
		RequestedModel: x.requested,
		Stream:         x.stream,
		Mode:           ModeStandard,
		Tier:           cmp.Or(x.tier, x.requestTier),
		RawUsage:       bytes.Clone(x.raw),
		ReportedCost:   x.reported,
		ResponseID:     x.id,
		ErrorClass:     x.errorClass,
		ErrorCode:      x.errorCode,
	}
	if x.thinking {
		r.Mode = ModeThinking
	}
	if tier, _, _ := strings.Cut(r.Tier, "+"); tier == "batch" {
		r.Mode = ModeBatch
	}
	if x.fault != "" {
		complete, reason = false, x.fault
	}
	if len(charges) > 0 {
		r.Charges = charges
		r.Usage = &Usage{ByModality: true}
		for _, c := range charges {
			r.Usage.ByModality = r.Usage.ByModality && c.Usage.ByModality
			r.Usage.add(c.Usage)
		}
		r.Complete = complete
	}
	if !r.Complete {
		r.Reason = reason
	}
	return r
}

// maxCharges bounds the charges of one exchange.
const maxCharges = 32

// addCharge adds what one turn of an exchange used, at a model's price. Turns
// at the same model stay apart: each has a prompt of its own, whose length
// chooses its price tier. Only the turns beyond a number that nobody has seen
// are put together, and so priced as one.
func addCharge(charges []Charge, model string, u Usage) []Charge {
	if len(charges) >= maxCharges {
		for i := range charges {
			if charges[i].Model == model {
				charges[i].Usage.ToolCalls = maps.Clone(charges[i].Usage.ToolCalls)
				charges[i].Usage.ByModality = charges[i].Usage.ByModality && u.ByModality
				charges[i].Usage.add(u)
				return charges
			}
		}
	}
	u.ToolCalls = maps.Clone(u.ToolCalls)
	return append(charges, Charge{Model: model, Usage: u})
}

// add adds v to u.
func (u *Usage) add(v Usage) {
	u.Input += v.Input
	u.CacheRead += v.CacheRead
	u.CacheWrite5m += v.CacheWrite5m
	u.CacheWrite1h += v.CacheWrite1h
	u.Output += v.Output
	u.Thinking += v.Thinking
	u.AudioInput += v.AudioInput
	u.CachedAudioInput += v.CachedAudioInput
	u.AudioOutput += v.AudioOutput
	u.ImageInput += v.ImageInput
	u.CachedImageInput += v.CachedImageInput
	u.ImageOutput += v.ImageOutput
	u.VideoInput += v.VideoInput
	u.VideoOutput += v.VideoOutput
	for name, n := range v.ToolCalls {
		u.addToolCalls(name, n)
	}
}

// modalities are the tokens of a count that were not text.
type modalities struct{ audio, image, video int64 }

// fit cuts what is more than the whole, and reports whether it had to.
func (m *modalities) fit(whole int64) (cut bool) {
	for _, n := range []*int64{&m.audio, &m.image, &m.video} {
		*n = max(0, *n)
		cut = cut || *n > whole
		*n = min(*n, whole)
		whole -= *n
	}
	return cut
}

// minus is what is left of the modalities without those of a part.
func (m modalities) minus(part modalities) modalities {
	return modalities{m.audio - part.audio, m.image - part.image, m.video - part.video}
}

// addToolCalls adds n calls, if any.
func (u *Usage) addToolCalls(name string, n int64) {
	if n <= 0 {
		return
	}
	if u.ToolCalls == nil {
		u.ToolCalls = make(map[string]int64)
	}
	u.ToolCalls[name] += n
}
