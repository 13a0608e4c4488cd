package layer

import (
	"math/rand/v2"
	"testing"
)

func TestSize(t *testing.T) {
	program := make([]byte, 100_000)
	if size, err := Size("eni-agent", program); err != nil || size > 2_000 {
		t.Errorf("zeroes: %d bytes, %v", size, err)
	}
	source := rand.NewChaCha8([32]byte{})
	if _, err := source.Read(program); err != nil {
		t.Fatal(err)
	}
	if size, err := Size("eni-agent", program); err != nil || size < 100_000 || size > 102_000 {
		t.Errorf("what cannot be compressed: %d bytes, %v", size, err)
	}
}
