// Command pictures plays the demo in a terminal of its own and draws two pictures: what
// the terminal shows, and the dashboard with the metrics that the demo's programs serve.
// Run it with `make pictures`.
package main

import (
	"context"
	"flag"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
)

func main() {
	if err := run(); err != nil {
		fmt.Fprintln(os.Stderr, "pictures:", err)
		os.Exit(1)
	}
}

func run() error {
	demo := flag.String("demo", "bin/demo", "the demo's program")
	programs := flag.String("programs", "bin", "directory of the programs that the demo runs")
	model := flag.String("dashboard", "packaging/grafana/aws-multi-eni.json", "the dashboard")
	out := flag.String("out", "docs/images", "directory for the pictures")
	flag.Parse()

	dir, err := os.MkdirTemp("", "aws-multi-eni-pictures-")
	if err != nil {
		return err
	}
	defer os.RemoveAll(dir)
	metrics := filepath.Join(dir, "metrics")

	chunks, err := record(exec.Command(*demo, "-programs", *programs, "-metrics", metrics))
	if err != nil {
		return fmt.Errorf("the demo: %w", err)
	}
	if err := save(filepath.Join(*out, "demo.svg"), drawTerminal(frames(chunks))); err != nil {
		return err
	}

	db, times, err := loadMetrics(metrics, filepath.Join(dir, "tsdb"))
	if err != nil {
		return fmt.Errorf("the demo's metrics: %w", err)
	}
	defer db.Close()
	d, err := readDashboard(*model)
	if err != nil {
		return err
	}
	picture, err := d.draw(context.Background(), newQuerier(db, times))
	if err != nil {
		return err
	}
	return save(filepath.Join(*out, "dashboard.svg"), picture)
}

func save(path, picture string) error {
	fmt.Printf("%s: %d kB\n", path, len(picture)/1000)
	return os.WriteFile(path, []byte(picture), 0o644)
}
