package tap

// Used is how much of MaxTotal is reserved.
func (t *Tap) Used() int64 { return t.used.Load() }

// MaxEvent is the bound of one event of a stream.
const MaxEvent = maxEvent
