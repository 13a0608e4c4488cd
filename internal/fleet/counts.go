package fleet

// Counts says how often something was counted, by its kind.
type Counts[K comparable] map[K]int

// Since is what has been added to an earlier count.
func (c Counts[K]) Since(before Counts[K]) Counts[K] {
	added := Counts[K]{}
	for one, n := range c {
		if n -= before[one]; n != 0 {
			added[one] = n
		}
	}
	return added
}

// Sum adds up what matches.
func (c Counts[K]) Sum(match func(K) bool) int {
	sum := 0
	for one, n := range c {
		if match(one) {
			sum += n
		}
	}
	return sum
}
