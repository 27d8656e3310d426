package main

import (
	"context"
	"errors"
	"math"
	"slices"
	"strings"
	"testing"
)

func TestPercentile(t *testing.T) {
	hundred := make([]float64, 100)
	for i := range hundred {
		hundred[i] = float64(100 - i)
	}
	for _, tt := range []struct {
		samples []float64
		p, want float64
	}{
		{[]float64{3, 1, 2}, 0.5, 2},
		{[]float64{4, 1, 3, 2}, 0.5, 2},
		{hundred, 0.99, 99},
		{hundred, 1, 100},
		{hundred, 0, 1},
		{[]float64{7}, 0.99, 7},
	} {
		if got := percentile(slices.Clone(tt.samples), tt.p); got != tt.want {
			t.Errorf("percentile of %d samples at %v = %v, want %v", len(tt.samples), tt.p, got, tt.want)
		}
	}
	if got := percentile(nil, 0.5); !math.IsNaN(got) {
		t.Errorf("percentile of nothing = %v", got)
	}
}

func TestMedian(t *testing.T) {
	nan := math.NaN()
	for _, tt := range []struct {
		values []float64
		want   float64
	}{
		{[]float64{1, 9, 2}, 2},
		{[]float64{4, 1, 3, 2}, 2.5},
		{[]float64{nan, 5, math.Inf(1)}, 5},
	} {
		if got := median(tt.values); got != tt.want {
			t.Errorf("median(%v) = %v, want %v", tt.values, got, tt.want)
		}
	}
	if got := median([]float64{nan}); !math.IsNaN(got) {
		t.Errorf("median of nothing = %v", got)
	}
}

// A round in which the machine was ten times slower changes no ratio.
func TestRatiosAreOfTheSameRound(t *testing.T) {
	tab := newTable("", figure{name: "p50"})
	for _, slow := range []float64{1, 10, 1} {
		tab.add("direct", result{"p50": 100e-6 * slow})
		tab.add("proxy", result{"p50": 200e-6 * slow})
	}
	r := tab.ratio("proxy", "direct", "p50")
	for _, v := range []float64{r.mid, r.low, r.high} {
		if math.Abs(v-2) > 1e-9 {
			t.Fatalf("ratio %+v, want 2", r)
		}
	}
	tab.addOver("direct", "p50")
	if got := tab.values("proxy", "added p50"); math.Abs(got[1]-1e-3) > 1e-12 {
		t.Errorf("added %v", got)
	}
	if got := tab.values("direct", "added p50"); !math.IsNaN(got[0]) {
		t.Errorf("direct adds %v to itself", got)
	}
}

func TestTable(t *testing.T) {
	tab := newTable("Title", figure{name: "p50"}, figure{name: "rate", unit: perSecond, base: "proxy"})
	tab.add("direct", result{"p50": 85e-6, "rate": 1000})
	tab.add("proxy", result{"p50": 181e-6, "rate": 500})
	tab.add("broken", nil)
	tab.add("direct", result{"p50": 85e-6, "rate": 1000})
	tab.add("proxy", result{"p50": 170e-6, "rate": 500})
	tab.add("broken", nil)
	tab.note("A note.")
	var out strings.Builder
	tab.print(&out)
	const want = `
### Title

|        | p50                     | rate                     |
|--------|-------------------------|--------------------------|
| direct | 85.0 µs                 | 1000/s ×2.00 (2.00–2.00) |
| proxy  | 176 µs ×2.06 (2.00–2.13) | 500/s                    |
| broken | –                       | –                        |

A note.
`
	// The widths are of the widest cell; spaces are not what is tested.
	if got := strings.Join(strings.Fields(out.String()), " "); strings.ReplaceAll(got, "-", "") != strings.ReplaceAll(strings.Join(strings.Fields(want), " "), "-", "") {
		t.Errorf("got\n%s\nwant\n%s", out.String(), want)
	}
}

func TestUnits(t *testing.T) {
	for _, tt := range []struct {
		unit  unit
		value float64
		want  string
	}{
		{inSeconds, 0, "0 µs"},
		{inSeconds, 12.3e-6, "12.3 µs"},
		{inSeconds, 0.00456, "4.56 ms"},
		{inSeconds, 61, "61.0 s"},
		{inSeconds, -0.002, "-2.00 ms"},
		{inBytes, 7680, "7.50 KB"},
		{inBytes, 100 << 20, "100 MB"},
		{inBytesPerSecond, 3 << 30, "3.00 GB/s"},
		{perSecond, 1864.2, "1864/s"},
		{inPercent, 0.0451, "4.51 %"},
		{inCount, 2, "2.00"},
		{inCount, math.NaN(), "–"},
	} {
		if got := tt.unit.format(tt.value); got != tt.want {
			t.Errorf("format(%v) = %q, want %q", tt.value, got, tt.want)
		}
	}
}

func TestClaim(t *testing.T) {
	for _, tt := range []struct {
		value float64
		want  string
	}{
		{0.4, "holds: it: 0.40, at most 0.50"},
		{0.5, "holds: it: 0.50, at most 0.50"},
		{0.6, "FAILS: it: 0.60, at most 0.50"},
		{math.NaN(), "not measured: it"},
	} {
		if got := (claim{"it", tt.value, 0.5, inCount}).String(); got != tt.want {
			t.Errorf("%q, want %q", got, tt.want)
		}
	}
}

func TestInterleave(t *testing.T) {
	var order []string
	entrants := []entrant{}
	for _, name := range []string{"a", "b", "c"} {
		entrants = append(entrants, entrant{name, func(context.Context) (result, error) {
			order = append(order, name)
			if name == "b" && len(order) > 4 {
				return nil, errors.New("it broke")
			}
			return result{"n": float64(len(order))}, nil
		}})
	}
	tab := newTable("", figure{name: "n"})
	if err := interleave(t.Context(), tab, 3, entrants); err != nil {
		t.Fatal(err)
	}
	// A round to warm up, then each begins once; b breaks in the second and is
	// left out from then on.
	if got, want := strings.Join(order, ""), "abc"+"abc"+"ca"+"ca"; got != want {
		t.Errorf("order %s, want %s", got, want)
	}
	if !slices.Equal(tab.rows, []string{"a", "b", "c"}) || len(tab.rounds["a"]) != 3 || len(tab.notes) != 1 {
		t.Errorf("table %+v", tab)
	}
	if v := median(tab.values("b", "n")); !math.IsNaN(v) {
		t.Errorf("what broke has %v", v)
	}

	broken := []entrant{{"x", func(context.Context) (result, error) { return nil, errors.New("no") }}}
	if err := interleave(t.Context(), newTable("t"), 2, broken); err == nil {
		t.Error("nobody works, and no error")
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if err := interleave(ctx, newTable("t"), 2, broken); !errors.Is(err, context.Canceled) {
		t.Errorf("cancelled: %v", err)
	}
}
