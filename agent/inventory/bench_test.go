package inventory

import (
	"fmt"
	"testing"
	"time"

	"github.com/aws-multi-eni/aws-multi-eni/internal/eni"
)

func BenchmarkMerge(b *testing.B) {
	for _, n := range []int{1, 4, 15} {
		b.Run(fmt.Sprintf("enis=%d", n), func(b *testing.B) {
			b.ReportAllocs()
			var before []ENI
			var list []eni.ENI
			for i := range n {
				e := fixture(fmt.Sprintf("eni-%02d", i), "x").at(me, int32(i+1), "attached")
				before, list = append(before, e), append(list, e.ENI)
			}
			now := time.Unix(100_000, 0)
			for b.Loop() {
				if after, gone, _ := merge(before, list, nowhere, now); len(after) != n || len(gone) > 0 {
					b.Fatal(after, gone)
				}
			}
		})
	}
}
