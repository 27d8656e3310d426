package pricing

import (
	"encoding/json"
	"fmt"
	"regexp"
	"strings"
	"time"
)

// clause reports whether a model's name, in lower case, is one that it means.
type clause func(name string) bool

// UnmarshalJSON reads one of genai-prices' clauses: an object with one member,
// which is a string to compare with, or, for "or", "and" and "not", clauses.
func (c *clause) UnmarshalJSON(data []byte) error {
	var object map[string]json.RawMessage
	if err := json.Unmarshal(data, &object); err != nil {
		return err
	}
	if len(object) != 1 {
		return fmt.Errorf("a match clause has %d members, not one", len(object))
	}
	for kind, value := range object {
		var err error
		if *c, err = parseClause(kind, value); err != nil {
			return fmt.Errorf("match clause %q: %w", kind, err)
		}
	}
	return nil
}

func parseClause(kind string, value json.RawMessage) (clause, error) {
	switch kind {
	case "or", "and":
		var parts []clause
		if err := json.Unmarshal(value, &parts); err != nil {
			return nil, err
		}
		all := kind == "and"
		return func(name string) bool {
			for _, part := range parts {
				if part(name) != all {
					return !all
				}
			}
			return all
		}, nil
	case "not":
		var part clause
		if err := json.Unmarshal(value, &part); err != nil {
			return nil, err
		}
		return func(name string) bool { return !part(name) }, nil
	}
	var text string
	if err := json.Unmarshal(value, &text); err != nil {
		return nil, err
	}
	if kind == "regex" {
		expr, err := regexp.Compile(text)
		if err != nil {
			return nil, err
		}
		return expr.MatchString, nil
	}
	text = strings.ToLower(text)
	switch kind {
	case "equals":
		return func(name string) bool { return name == text }, nil
	case "starts_with":
		return func(name string) bool { return strings.HasPrefix(name, text) }, nil
	case "ends_with":
		return func(name string) bool { return strings.HasSuffix(name, text) }, nil
	case "contains":
		return func(name string) bool { return strings.Contains(name, text) }, nil
	}
	return nil, fmt.Errorf("the kind is not known")
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
