package budget

import (
	"math/rand/v2"
	"testing"
)

func TestImageSize(t *testing.T) {
	program := make([]byte, 100_000)
	if size, err := ImageSize("eni-agent", program); err != nil || size > 2_000 {
		t.Errorf("zeroes: %v bytes, %v", size, err)
	}
	source := rand.NewChaCha8([32]byte{})
	if _, err := source.Read(program); err != nil {
		t.Fatal(err)
	}
	if size, err := ImageSize("eni-agent", program); err != nil || size < 100_000 || size > 102_000 {
		t.Errorf("what cannot be compressed: %v bytes, %v", size, err)
	}
}
