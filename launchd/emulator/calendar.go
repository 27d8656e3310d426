package emulator

import (
	"time"

	"github.com/haltonlabs/halton-meter/launchd"
)

// nextMatch is the first whole minute after t that c matches, or zero if
// there is none (30 February). As in crontab(5) and launchd.plist(5), if both
// Day and Weekday are given, either suffices.
func nextMatch(c launchd.CalendarInterval, t time.Time) time.Time {
	const days = 8*366 + 1 // leap days can be eight years apart
	for i := range days {
		y, m, d := t.Date()
		noon := time.Date(y, m, d+i, 12, 0, 0, 0, t.Location())
		if !matchesDay(c, noon) {
			continue
		}
		y, m, d = noon.Date()
		for h := range 24 {
			if !matches(c.Hour, h) {
				continue
			}
			for minute := range 60 {
				at := time.Date(y, m, d, h, minute, 0, 0, t.Location())
				if matches(c.Minute, minute) && at.After(t) {
					return at
				}
			}
		}
	}
	return time.Time{}
}

func matchesDay(c launchd.CalendarInterval, day time.Time) bool {
	if !matches(c.Month, int(day.Month())) {
		return false
	}
	onDay := matches(c.Day, day.Day())
	onWeekday := matches(c.Weekday, int(day.Weekday())) ||
		(c.Weekday != nil && *c.Weekday == 7 && day.Weekday() == time.Sunday)
	if c.Day != nil && c.Weekday != nil {
		return onDay || onWeekday
	}
	return onDay && onWeekday
}

func matches(want *int, is int) bool { return want == nil || *want == is }
