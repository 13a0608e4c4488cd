package controlplane

import (
	"context"
	"errors"
	"os"
	"path/filepath"
)

const (
	etcdData   = "etcd-data"
	etcdBackup = "etcd-backup"
)

// Backup keeps etcd's present state for Restore, in place of the one before.
func (cp *ControlPlane) Backup() error {
	// Frozen, it leaves what a crash would.
	if err := cp.etcd.freeze(); err != nil {
		return err
	}
	return errors.Join(cp.copyData(etcdData, etcdBackup), cp.etcd.thaw())
}

// Restore brings the state of the last Backup back, resource versions included,
// as one does after a disaster. The API server is restarted with it.
func (cp *ControlPlane) Restore(ctx context.Context) error {
	cp.StopAPIServer()
	cp.etcd.kill()
	if err := cp.copyData(etcdBackup, etcdData); err != nil {
		return err
	}
	if err := cp.etcd.start(); err != nil {
		return err
	}
	return cp.StartAPIServer(ctx)
}

func (cp *ControlPlane) copyData(from, to string) error {
	to = filepath.Join(cp.dir, to)
	if err := os.RemoveAll(to); err != nil {
		return err
	}
	return os.CopyFS(to, os.DirFS(filepath.Join(cp.dir, from)))
}
