// The page's style sheet: colours for light, dark and paper, each pair with a contrast of 4.5 or more for text.
#pragma once

namespace par5 {

inline constexpr const char* kStyle = R"css(
:root{color-scheme:light dark;--bg:#fbfbf9;--card:#fff;--ink:#1c1f23;--soft:#565d66;--rule:#dfe1e4;--accent:#0b5cad;
--c0:#0b5cad;--c1:#b3470b;--c2:#12703f;--c3:#8a2f86;--c4:#6b5a00;--c5:#565d66;--good:#12703f;--bad:#b3201b;--open:#7a5b00;
--p0:#0b5cad;--p1:#d9822b;--p2:#3d9a6b;--p3:#a05195;--p4:#8f98a3;--p5:#c9ced4}
@media (prefers-color-scheme:dark){:root{--bg:#15181c;--card:#1c2026;--ink:#e8eaed;--soft:#a9b1bb;--rule:#343a42;--accent:#7db7f5;
--c0:#7db7f5;--c1:#f2a265;--c2:#6fce9b;--c3:#dd9be0;--c4:#dcc75a;--c5:#a9b1bb;--good:#6fce9b;--bad:#ff8f87;--open:#e3c566;
--p0:#5a9fe6;--p1:#e79a4e;--p2:#5bb888;--p3:#c182c9;--p4:#8b95a1;--p5:#525b66}}
*{box-sizing:border-box}
body{margin:0;background:var(--bg);color:var(--ink);font:16px/1.5 system-ui,-apple-system,"Segoe UI",Roboto,"Liberation Sans",Arial,sans-serif}
main{max-width:66rem;margin:0 auto;padding:1.5rem 1rem 4rem}
h1{font-size:1.7rem;line-height:1.2;margin:.3rem 0 .2rem;overflow-wrap:anywhere}
h2{font-size:1.2rem;margin:0 0 .6rem}
h3{font-size:1rem;margin:1.2rem 0 .4rem}
p{margin:.4rem 0;max-width:46rem}
.soft,figcaption,dt{color:var(--soft)}
section{background:var(--card);border:1px solid var(--rule);border-radius:10px;padding:1.1rem 1.2rem;margin:1.1rem 0}
dl.tiles{display:grid;grid-template-columns:repeat(auto-fill,minmax(10rem,1fr));gap:.7rem;margin:1rem 0 0}
dl.tiles div{background:var(--card);border:1px solid var(--rule);border-radius:10px;padding:.6rem .8rem}
dt{font-size:.85rem}
dd{margin:0;font-size:1.25rem;font-variant-numeric:tabular-nums;overflow-wrap:anywhere}
dd small{font-size:.85rem;color:var(--soft)}
figure{margin:.4rem 0 1rem;overflow-x:auto}
figcaption{font-size:.88rem;max-width:46rem}
svg.chart{display:block;width:100%;min-width:34rem;max-width:54rem;height:auto}
svg.histogram{display:block;width:100%;max-width:30rem;height:auto}
svg.small{max-width:none}
svg text{font:12px system-ui,-apple-system,"Segoe UI",Roboto,"Liberation Sans",Arial,sans-serif;fill:var(--soft);font-variant-numeric:tabular-nums}
svg text.value{fill:var(--ink)}
svg.small text{font-size:11px}
.grid{stroke:var(--rule);stroke-width:1}
.axis{stroke:var(--soft);stroke-width:1}
.curve{fill:none;stroke-width:1.8;stroke-linejoin:round}
.band{opacity:.22;stroke:none}
.interval{stroke:var(--c0);stroke-width:2}
.mark{stroke:var(--ink);stroke-width:1.6}
.bar{fill:var(--p0)}
.curve.c0{stroke:var(--c0)}.curve.c1{stroke:var(--c1);stroke-dasharray:7 3}.curve.c2{stroke:var(--c2);stroke-dasharray:2 3}
.curve.c3{stroke:var(--c3);stroke-dasharray:9 3 2 3}.curve.c4{stroke:var(--c4);stroke-dasharray:4 2}.curve.c5{stroke:var(--c5);stroke-dasharray:1 2}
.band.c0,.dot.c0{fill:var(--c0)}.band.c1,.dot.c1{fill:var(--c1)}.band.c2,.dot.c2{fill:var(--c2)}.band.c3,.dot.c3{fill:var(--c3)}.band.c4,.dot.c4{fill:var(--c4)}.band.c5,.dot.c5{fill:var(--c5)}
.dot.muted{fill:var(--p4)}
.p0{fill:var(--p0);background:var(--p0)}.p1{fill:var(--p1);background:var(--p1)}.p2{fill:var(--p2);background:var(--p2)}
.p3{fill:var(--p3);background:var(--p3)}.p4{fill:var(--p4);background:var(--p4)}.p5{fill:var(--p5);background:var(--p5)}
.h0{fill:var(--p0);fill-opacity:.06}.h1{fill:var(--p0);fill-opacity:.17}.h2{fill:var(--p0);fill-opacity:.28}.h3{fill:var(--p0);fill-opacity:.4}.h4{fill:var(--p0);fill-opacity:.52}
.h5{fill:var(--p0);fill-opacity:.64}.h6{fill:var(--p0);fill-opacity:.76}.h7{fill:var(--p0);fill-opacity:.88}.h8{fill:var(--p0)}
.sizebar{display:block;width:100%;min-width:5rem;height:.8rem}
.sizebar.whole{height:1.5rem}
.legend{display:flex;flex-wrap:wrap;gap:.3rem 1.1rem;list-style:none;margin:.5rem 0;padding:0;font-size:.9rem}
.legend li{display:flex;align-items:center;gap:.4rem}
.legend i{width:.85rem;height:.85rem;border-radius:2px;display:inline-block}
.legend svg{width:2.2rem;height:.7rem}
.scroll{overflow-x:auto}
table{border-collapse:collapse;width:100%;font-size:.9rem;font-variant-numeric:tabular-nums}
caption{text-align:left;color:var(--soft);padding:.2rem 0 .4rem}
th,td{padding:.22rem .6rem .22rem 0;text-align:left;vertical-align:top;border-bottom:1px solid var(--rule)}
th{font-weight:600}
tbody th{font-weight:400}
tbody th code{white-space:nowrap}
td.n,th.n{text-align:right;white-space:nowrap}
td.bar{width:28%}
code{font:.9em ui-monospace,"DejaVu Sans Mono",Menlo,monospace;overflow-wrap:anywhere}
.pass{color:var(--good);font-weight:600}.fail{color:var(--bad);font-weight:600}.unknown,.manual{color:var(--open);font-weight:600}
.multiples{display:grid;grid-template-columns:repeat(auto-fill,minmax(9.5rem,1fr));gap:.8rem 1rem}
.multiples figure{margin:0;overflow:hidden}
.multiples figcaption{font-size:.78rem;line-height:1.3;overflow-wrap:anywhere}
details{margin:.6rem 0}
summary{cursor:pointer;color:var(--accent)}
a{color:var(--accent)}
a:focus-visible,summary:focus-visible{outline:2px solid var(--accent);outline-offset:2px}
@media (max-width:40rem){section{padding:.9rem .8rem}td.bar,th.bar{display:none}}
@media print{:root{color-scheme:light;--bg:#fff;--card:#fff;--ink:#000;--soft:#444;--rule:#bbb;--accent:#000;--c0:#0b5cad;--c1:#b3470b;--c2:#12703f;--c3:#8a2f86;--c4:#6b5a00;--c5:#565d66;
--good:#12703f;--bad:#b3201b;--open:#7a5b00}section,dl.tiles div{border-color:#bbb;break-inside:auto}figure,tr{break-inside:avoid}body{font-size:11pt}.scroll,figure{overflow:visible}svg.chart{min-width:0}
*{-webkit-print-color-adjust:exact;print-color-adjust:exact}}
)css";

}  // namespace par5
