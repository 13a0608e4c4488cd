package plot

// colours is how many series have one of their own. They can be told apart by
// people who do not see all colours, on either page.
const colours = 8

// style has no variables, which not every reader knows. The picture brings its own
// page: the reader's theme need not be the one that the browser tells.
const style = `<style>
text { font-family: system-ui, -apple-system, "Segoe UI", "Noto Sans", Helvetica, Arial, sans-serif; font-size: 12px; fill: #59636e; }
.title { font-size: 15px; font-weight: 600; fill: #1f2328; }
.label, .value { fill: #1f2328; }
.page { fill: #ffffff; }
.grid { stroke: #d1d9e0; stroke-width: 1; }
.axis { stroke: #818b98; stroke-width: 1; }
.line { fill: none; stroke-width: 2.25; stroke-linejoin: round; stroke-linecap: round; }
.dashed { stroke-dasharray: 6 5; stroke-linecap: butt; stroke-width: 1.75; }
.dot, .fill { stroke: none; }
.line.s0 { stroke: #0969da; } .fill.s0 { fill: #0969da; }
.line.s1 { stroke: #bc4c00; } .fill.s1 { fill: #bc4c00; }
.line.s2 { stroke: #1a7f64; } .fill.s2 { fill: #1a7f64; }
.line.s3 { stroke: #8250df; } .fill.s3 { fill: #8250df; }
.line.s4 { stroke: #bf8700; } .fill.s4 { fill: #bf8700; }
.line.s5 { stroke: #bf3989; } .fill.s5 { fill: #bf3989; }
.line.s6 { stroke: #656d76; } .fill.s6 { fill: #656d76; }
.line.s7 { stroke: #0e7490; } .fill.s7 { fill: #0e7490; }
@media (prefers-color-scheme: dark) {
text { fill: #9198a1; }
.title, .label, .value { fill: #f0f6fc; }
.page { fill: #0d1117; }
.grid { stroke: #2a313c; }
.axis { stroke: #656c76; }
.line.s0 { stroke: #4493f8; } .fill.s0 { fill: #4493f8; }
.line.s1 { stroke: #f0883e; } .fill.s1 { fill: #f0883e; }
.line.s2 { stroke: #3fb997; } .fill.s2 { fill: #3fb997; }
.line.s3 { stroke: #ab7df8; } .fill.s3 { fill: #ab7df8; }
.line.s4 { stroke: #e3b341; } .fill.s4 { fill: #e3b341; }
.line.s5 { stroke: #db61a2; } .fill.s5 { fill: #db61a2; }
.line.s6 { stroke: #9198a1; } .fill.s6 { fill: #9198a1; }
.line.s7 { stroke: #39c5cf; } .fill.s7 { fill: #39c5cf; }
}
</style>
`
