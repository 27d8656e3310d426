package meter

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"log/slog"
	"os"
	"path/filepath"
	"sync"
	"time"

	"github.com/haltonlabs/halton-meter/internal/atomicfile"
	"github.com/haltonlabs/halton-meter/internal/smallfile"
)

// lessonFile keeps what was learned over a restart: else the first call of
// each program that cannot be metered would fail again after each. With
// another CA nothing of it holds, and it is forgotten.
type lessonFile struct {
	path string
	ca   string // the CA's fingerprint
	log  *slog.Logger
	mu   sync.Mutex // held while it is written
	work sync.WaitGroup
}

type savedLessons struct {
	CA      string        `json:"ca"`
	Lessons []savedLesson `json:"lessons"`
}

type savedLesson struct {
	Host    string    `json:"host"`
	Program string    `json:"program"`
	Until   time.Time `json:"until"`
}

// restore reads what an earlier daemon on the state directory learned, and
// keeps what this one learns.
func (l *learned) restore(dir string, log *slog.Logger) {
	ca, err := os.ReadFile(filepath.Join(dir, "ca", "ca.pem"))
	if err != nil {
		return
	}
	sum := sha256.Sum256(ca)
	l.file = &lessonFile{path: filepath.Join(dir, "learned.json"), ca: hex.EncodeToString(sum[:]), log: log}
	data, err := smallfile.Read(l.file.path, 1<<20)
	if err != nil {
		return
	}
	var saved savedLessons
	if json.Unmarshal(data, &saved) != nil || saved.CA != l.file.ca {
		return
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	l.lessons = map[lessonKey]*lesson{}
	for _, s := range saved.Lessons[:min(len(saved.Lessons), maxLessons)] {
		// A date beyond reach is from a clock that was set, or not ours.
		if left := time.Until(s.Until); left > 0 && left <= learnedFor {
			l.lessons[lessonKey{s.Host, s.Program}] = &lesson{guesses: guessesToLearn, until: s.Until}
		}
	}
}

// save writes the lessons, beside the path of the traffic. The caller holds
// l.mu.
func (l *learned) save() {
	if l.file != nil {
		l.file.work.Go(func() { l.file.write(l) })
	}
}

// close returns when everything is written.
func (l *learned) close() {
	if l.file != nil {
		l.file.work.Wait()
	}
}

func (f *lessonFile) write(l *learned) {
	f.mu.Lock()
	defer f.mu.Unlock()
	saved := savedLessons{CA: f.ca, Lessons: []savedLesson{}}
	l.mu.Lock()
	for key, le := range l.lessons {
		if time.Now().Before(le.until) {
			saved.Lessons = append(saved.Lessons, savedLesson{key.host, key.program, le.until})
		}
	}
	l.mu.Unlock()
	data, err := json.Marshal(saved)
	if err == nil {
		err = atomicfile.Write(f.path, data, 0o600)
	}
	if err != nil {
		f.log.Warn("capture.learned.unsaved", "error", err)
	}
}
