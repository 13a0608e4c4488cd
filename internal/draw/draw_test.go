package draw

import (
	"reflect"
	"slices"
	"testing"
)

func TestChoices(t *testing.T) {
	c := From([]byte{7, 1, 3, 5, 1, 0, 1})
	if n := c.N(4); n != 3 {
		t.Errorf("the number is %d", n)
	}
	if !c.Bool() || !c.Rarely(4) {
		t.Error("odd bytes are true, and 3 is the last of four")
	}
	if o := Of(c, "a", "b", "c"); o != "c" {
		t.Errorf("the option is %s", o)
	}
	if some := Some(c, 1, 2, 3); !slices.Equal(some, []int{1, 3}) {
		t.Errorf("some are %v", some)
	}
	if c.More() || c.N(4) != 0 || c.Bool() || c.Rarely(4) || Of(c, "a", "b") != "a" || len(Some(c, 1, 2)) > 0 {
		t.Error("without bytes the first choice is taken")
	}
}

func TestSeeds(t *testing.T) {
	seeds := Seeds(10)
	if len(seeds) != 10 || len(seeds[0]) != 0 || len(seeds[9]) != 90 || !reflect.DeepEqual(seeds, Seeds(10)) {
		t.Errorf("the seeds are %v", seeds)
	}
}
