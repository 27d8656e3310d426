package main

import (
	"fmt"
	"io"
	"math"
	"strings"
	"unicode/utf8"
)

// unit is what a figure is measured in; it knows how to be read.
type unit int

const (
	inSeconds unit = iota
	inBytes
	inBytesPerSecond
	perSecond
	inCount
	inPercent
)

func (u unit) format(v float64) string {
	if math.IsNaN(v) || math.IsInf(v, 0) {
		return "–"
	}
	switch u {
	case inSeconds:
		return scaled(v*1e6, 1000, "µs", "ms", "s")
	case inBytes:
		return scaled(v, 1024, "B", "KB", "MB", "GB")
	case inBytesPerSecond:
		return scaled(v, 1024, "B/s", "KB/s", "MB/s", "GB/s")
	case perSecond:
		return three(v) + "/s"
	case inPercent:
		return three(v*100) + " %"
	default:
		return three(v)
	}
}

// scaled writes v in the largest unit in which it is not below 1.
func scaled(v, step float64, names ...string) string {
	i := 0
	for math.Abs(v) >= step && i < len(names)-1 {
		v /= step
		i++
	}
	return three(v) + " " + names[i]
}

// three writes three significant digits, without an exponent.
func three(v float64) string {
	switch a := math.Abs(v); {
	case a == 0:
		return "0"
	case a < 10:
		return fmt.Sprintf("%.2f", v)
	case a < 100:
		return fmt.Sprintf("%.1f", v)
	default:
		return fmt.Sprintf("%.0f", v)
	}
}

// figure is a column: one thing that is measured of every contender.
type figure struct {
	name string
	unit unit
	// base names the row that the others are divided by; "" is the first.
	base string
}

// result is what one contender did in one round, by the figure's name.
type result map[string]float64

// table is the outcome of one subject: a row a contender, a column a figure.
type table struct {
	title   string
	notes   []string
	figures []figure
	rows    []string
	rounds  map[string][]result // by row
	claims  []claim
}

func newTable(title string, figures ...figure) *table {
	return &table{title: title, figures: figures, rounds: map[string][]result{}}
}

func (t *table) note(format string, args ...any) {
	t.notes = append(t.notes, fmt.Sprintf(format, args...))
}

// add appends a round of a contender; rows stand in the order of their first.
func (t *table) add(row string, r result) {
	if _, ok := t.rounds[row]; !ok {
		t.rows = append(t.rows, row)
	}
	t.rounds[row] = append(t.rounds[row], r)
}

// values are a row's results of one figure, NaN where there is none.
func (t *table) values(row, name string) []float64 {
	var v []float64
	for _, r := range t.rounds[row] {
		x, ok := r[name]
		if !ok {
			x = math.NaN()
		}
		v = append(v, x)
	}
	return v
}

// ratio is how a row compares with another in a figure.
func (t *table) ratio(row, base, name string) spread {
	return spreadOf(ratios(t.values(row, name), t.values(base, name)))
}

// print writes the table in Markdown, aligned, so that it can be read as it is
// and pasted into a document.
func (t *table) print(w io.Writer) {
	fmt.Fprintf(w, "\n### %s\n\n", t.title)
	cells := [][]string{{""}}
	for _, f := range t.figures {
		cells[0] = append(cells[0], f.name)
	}
	for _, row := range t.rows {
		line := []string{row}
		for _, f := range t.figures {
			line = append(line, t.cell(row, f))
		}
		cells = append(cells, line)
	}
	printMarkdown(w, cells)
	for _, n := range t.notes {
		fmt.Fprintf(w, "\n%s\n", n)
	}
}

func (t *table) cell(row string, f figure) string {
	values := t.values(row, f.name)
	text := f.unit.format(median(values))
	base := f.base
	if base == "" {
		base = t.rows[0]
	}
	if row == base {
		return text
	}
	r := t.ratio(row, base, f.name)
	if math.IsNaN(r.mid) {
		return text
	}
	if len(values) == 1 {
		return fmt.Sprintf("%s ×%s", text, three(r.mid))
	}
	return fmt.Sprintf("%s ×%s (%s–%s)", text, three(r.mid), three(r.low), three(r.high))
}

func printMarkdown(w io.Writer, cells [][]string) {
	widths := make([]int, len(cells[0]))
	for _, line := range cells {
		for i, c := range line {
			widths[i] = max(widths[i], utf8.RuneCountInString(c), 3)
		}
	}
	for n, line := range cells {
		var b strings.Builder
		for i, c := range line {
			fmt.Fprintf(&b, "| %s%s ", c, strings.Repeat(" ", widths[i]-utf8.RuneCountInString(c)))
		}
		fmt.Fprintln(w, b.String()+"|")
		if n == 0 {
			for _, width := range widths {
				fmt.Fprint(w, "|", strings.Repeat("-", width+2))
			}
			fmt.Fprintln(w, "|")
		}
	}
}
