package files

import (
	"context"
	"os"
	"reflect"
	"time"

	"github.com/fsnotify/fsnotify"
)

// Files are written in steps: emptied and filled, renamed away and back, removed
// and made again. They are read when they have been the same for settle, or, when
// a NodeENI would go, for settleLoss; but never later than settleMax, or, when a
// NodeENI would go, when it has been missing for so long at every look.
const (
	settle     = 500 * time.Millisecond
	settleLoss = 2 * time.Second
	settleMax  = 10 * time.Second
	settlePoll = 250 * time.Millisecond
)

// The directory is also looked at without an event: a symbolic link may lead
// to a file elsewhere, and what is not there cannot be watched.
const (
	pollEvery   = 30 * time.Second
	pollMissing = 2 * time.Second
)

// Run keeps up with the files, and with the labels, until ctx ends.
func (s *Source) Run(ctx context.Context) {
	if s.cfg.AskLabels != nil {
		go s.followLabels(ctx)
	}
	w := &watcher{directory: s.cfg.Directory}
	defer w.close()
	if err := w.open(); err != nil {
		s.cfg.Log.Warn("cannot watch the NodeENI files; checking them every 30 seconds instead", "error", err)
	}
	var settling settling
	timer := time.NewTimer(0)
	defer timer.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-w.events:
			if settling.begin(time.Now()) {
				timer.Reset(settlePoll)
			}
		case <-timer.C:
			timer.Reset(s.look(w, &settling, time.Now()))
		}
	}
}

// look reads the directory, takes the files in when they have settled, and
// returns when to look again.
func (s *Source) look(w *watcher, settling *settling, now time.Time) time.Duration {
	if err := w.follow(); err != nil {
		s.cfg.Log.Warn("cannot watch the NodeENI files; checking them every 30 seconds instead", "error", err)
	}
	all, err := readDirectory(s.cfg.Directory)
	if err != nil {
		settling.forget()
		s.fail(err)
		return pollMissing
	}
	if !settling.see(all, now) {
		return pollEvery
	}
	parsed := parseAll(all)
	if !settling.done(now, s.wouldLose(parsed)) {
		return settlePoll
	}
	s.apply(parsed)
	settling.end()
	return pollEvery
}

// settling is how long the files have been the same.
type settling struct {
	active bool      // something may have changed since they were taken in
	began  time.Time // that
	known  bool      // there is a seen
	seen   []content
	since  time.Time // when they were first seen so
	losing time.Time // since when a NodeENI would go
}

// begin notes that something may have changed; false when that is known.
func (s *settling) begin(now time.Time) bool {
	if s.active {
		return false
	}
	s.active, s.began, s.since = true, now, now
	return true
}

// see takes in what the files are now; false when nothing has changed.
func (s *settling) see(all []content, now time.Time) bool {
	if !s.known || !reflect.DeepEqual(s.seen, all) {
		s.begin(now)
		s.known, s.seen, s.since = true, all, now
	}
	return s.active
}

func (s *settling) done(now time.Time, loss bool) bool {
	switch {
	case !loss:
		s.losing = time.Time{}
		return now.Sub(s.since) >= settle || now.Sub(s.began) >= settleMax
	case s.losing.IsZero():
		s.losing = now
	}
	return now.Sub(s.since) >= settleLoss || now.Sub(s.losing) >= settleMax
}

func (s *settling) end() { s.active, s.losing = false, time.Time{} }

func (s *settling) forget() { *s = settling{} }

// watcher has events of the kernel about changes in a directory, and stays with the
// directory of that name when it is made again.
type watcher struct {
	directory string
	notify    *fsnotify.Watcher
	watched   os.FileInfo
	refused   bool          // by the kernel
	events    chan struct{} // after changes; never when the kernel cannot tell
}

func (w *watcher) open() (err error) {
	if w.notify, err = fsnotify.NewWatcher(); err != nil {
		return err
	}
	w.events = make(chan struct{}, 1)
	go func(notify *fsnotify.Watcher) {
		for {
			var ok bool
			select {
			case _, ok = <-notify.Events:
			case _, ok = <-notify.Errors: // events may have been lost
			}
			if !ok {
				return
			}
			select {
			case w.events <- struct{}{}:
			default:
			}
		}
	}(w.notify)
	return nil
}

// follow watches the directory that has the name now. It tells once, of each
// directory, that it cannot.
func (w *watcher) follow() error {
	if w.notify == nil {
		return nil
	}
	info, err := os.Stat(w.directory)
	if err != nil {
		w.watched = nil
		return nil // who reads it tells
	}
	if w.watched != nil && os.SameFile(w.watched, info) && (w.refused || len(w.notify.WatchList()) > 0) {
		return nil // and not a new one that has got the number of the old one
	}
	_ = w.notify.Remove(w.directory) // of the one before; the kernel may have done it
	w.watched = info
	err = w.notify.Add(w.directory)
	w.refused = err != nil
	return err
}

func (w *watcher) close() {
	if w.notify != nil {
		w.notify.Close()
	}
}
