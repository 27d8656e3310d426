package pricing

import (
	"encoding/json"
	"fmt"
	"regexp"
	"strings"
	"time"
)

// clause tells which models' names, in lower case, an entry of the book means.
type clause struct {
	fits func(name string) bool
	// text shows it: "gpt-5", "claude-opus-4-8*", "/regular expression/".
	text string
}

// parseClause reads one of genai-prices' clauses: an object with one member,
// which is a string to compare with, or, for "or", "and" and "not", clauses. If
// careful, what a name has beyond the text that it is compared with must be one
// of the things that leave the price alone.
func parseClause(data json.RawMessage, careful bool) (clause, error) {
	var object map[string]json.RawMessage
	if err := json.Unmarshal(data, &object); err != nil {
		return clause{}, err
	}
	if len(object) != 1 {
		return clause{}, fmt.Errorf("a match clause has %d members, not one", len(object))
	}
	for kind, value := range object {
		c, err := parseKind(kind, value, careful)
		if err != nil {
			return clause{}, fmt.Errorf("match clause %q: %w", kind, err)
		}
		return c, nil
	}
	return clause{}, nil
}

func parseKind(kind string, value json.RawMessage, careful bool) (clause, error) {
	switch kind {
	case "or", "and":
		return parseSeveral(value, kind == "and", careful)
	case "not":
		// What is excluded is excluded with all that it may be part of.
		part, err := parseClause(value, false)
		return clause{func(name string) bool { return !part.fits(name) }, "not " + part.text}, err
	}
	var text string
	if err := json.Unmarshal(value, &text); err != nil {
		return clause{}, err
	}
	if kind == "regex" {
		expr, err := regexp.Compile(text)
		if err != nil {
			return clause{}, err
		}
		return clause{expr.MatchString, "/" + text + "/"}, nil
	}
	return parseText(kind, strings.ToLower(text), careful)
}

func parseSeveral(value json.RawMessage, all, careful bool) (clause, error) {
	var values []json.RawMessage
	if err := json.Unmarshal(value, &values); err != nil {
		return clause{}, err
	}
	var parts []clause
	var texts []string
	for _, v := range values {
		part, err := parseClause(v, careful)
		if err != nil {
			return clause{}, err
		}
		parts, texts = append(parts, part), append(texts, part.text)
	}
	joint := " | "
	if all {
		joint = " & "
	}
	fits := func(name string) bool {
		for _, part := range parts {
			if part.fits(name) != all {
				return !all
			}
		}
		return all
	}
	return clause{fits, strings.Join(texts, joint)}, nil
}

func parseText(kind, text string, careful bool) (clause, error) {
	variant := func(rest string) bool { return careful && !snapshot(text, rest) }
	foreign := func(before string) bool { return careful && !qualifier(before) }
	switch kind {
	case "equals":
		return clause{func(name string) bool { return name == text }, text}, nil
	case "starts_with":
		return clause{func(name string) bool {
			rest, ok := strings.CutPrefix(name, text)
			return ok && !variant(rest)
		}, text + "*"}, nil
	case "ends_with":
		return clause{func(name string) bool {
			before, ok := strings.CutSuffix(name, text)
			return ok && !foreign(before)
		}, "*" + text}, nil
	case "contains":
		return clause{func(name string) bool {
			before, rest, ok := strings.Cut(name, text)
			return ok && !foreign(before) && !variant(rest)
		}, "*" + text + "*"}, nil
	}
	return clause{}, fmt.Errorf("the kind is not known")
}

// The list's clauses are broader than what it knew when it was made: that which
// says "starts with claude-sonnet-5" was meant for that model's snapshots, and
// fits claude-sonnet-5-5 too, which came later and has other prices.

// families are the entries that were meant for several models at one price.
var families = map[string]bool{"claude-2": true, "gemma-3": true, "gemma-3n": true, "mixtral-8x7b": true, "moderation": true}

// sameModel is what may follow a model's name in that of the same model: dates
// and numbers of snapshots, Bedrock's first version, "latest", "preview".
var sameModel = regexp.MustCompile(`^(?:[-@](?:` + strings.Join([]string{
	`20\d{6}(?:-v\d+)?`, `20\d\d-\d\d-\d\d`, `\d\d-\d\d`, `\d\d-20\d\d`, `\d{3,4}`, `v1`,
	`latest`, `default`, `stable`, `preview`, `exp`, `experimental`, `thinking`, `instruct`, `it`, `customtools`,
}, "|") + `)|:\d+|:\d+k|:thinking|\[1m\])*$`)

// snapshot reports whether text and rest together are no other model's name
// than text.
func snapshot(text, rest string) bool {
	if strings.HasPrefix(text, "ft:") || strings.HasSuffix(text, ".ft-") {
		return true // fine-tunes are named by their owners
	}
	// Some clauses end in the middle of a name's part: "claude-sonnet-4-2025".
	part := strings.LastIndexAny(text, "-@")
	return sameModel.MatchString(rest) || part >= 0 && sameModel.MatchString(text[part:]+rest)
}

// qualifier reports whether before only says whose a model is: "models/",
// "us.anthropic.".
func qualifier(before string) bool {
	return before == "" || strings.ContainsRune("./:@", rune(before[len(before)-1]))
}

// glob is the clause of an override: "*" stands for any text.
func glob(pattern string) clause {
	parts := strings.Split(strings.ToLower(pattern), "*")
	for i := range parts {
		parts[i] = regexp.QuoteMeta(parts[i])
	}
	expr := regexp.MustCompile("^" + strings.Join(parts, ".*") + "$")
	return clause{expr.MatchString, pattern}
}

// constraint limits when prices apply: from a day on, or between two times of
// every day.
type constraint struct {
	from       time.Time
	start, end time.Duration // since midnight UTC
}

// UnmarshalJSON reads a constraint. Days begin at midnight UTC.
func (c *constraint) UnmarshalJSON(data []byte) error {
	var text struct {
		Type      string `json:"type"`
		StartDate string `json:"start_date"`
		StartTime string `json:"start_time"`
		EndTime   string `json:"end_time"`
	}
	err := json.Unmarshal(data, &text)
	switch {
	case err != nil:
		return err
	case text.Type == "start_date":
		c.from, err = time.Parse(time.DateOnly, text.StartDate)
		return err
	case text.Type != "time_of_date":
		return fmt.Errorf("price constraint %q is not known", text.Type)
	}
	if c.start, err = parseTimeOfDay(text.StartTime); err != nil {
		return err
	}
	c.end, err = parseTimeOfDay(text.EndTime)
	return err
}

func parseTimeOfDay(text string) (time.Duration, error) {
	t, err := time.Parse("15:04:05Z07:00", text)
	return timeOfDay(t), err
}

// timeOfDay is the time since midnight UTC.
func timeOfDay(t time.Time) time.Duration {
	t = t.UTC()
	hour, minute, second := t.Clock()
	return time.Duration(hour)*time.Hour + time.Duration(minute)*time.Minute +
		time.Duration(second)*time.Second + time.Duration(t.Nanosecond())
}

// holds reports whether the constraint, nil for none, is met. Times of day may
// span midnight.
func (c *constraint) holds(at time.Time) bool {
	switch {
	case c == nil:
		return true
	case !c.from.IsZero():
		return !at.Before(c.from)
	case c.end < c.start:
		return timeOfDay(at) >= c.start || timeOfDay(at) < c.end
	}
	return timeOfDay(at) >= c.start && timeOfDay(at) < c.end
}

// String says when the constraint holds: "since 2026-03-13", "00:30 to 16:30
// UTC", or "" if always.
func (c *constraint) String() string {
	if c == nil {
		return ""
	}
	if !c.from.IsZero() {
		return "since " + c.from.Format(time.DateOnly)
	}
	clock := func(d time.Duration) string { return time.Time{}.Add(d).Format("15:04") }
	return clock(c.start) + " to " + clock(c.end) + " UTC"
}
