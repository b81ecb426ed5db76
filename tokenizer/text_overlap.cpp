#include "tokenizer/text_overlap.h"

#include <string_view>
#include <unordered_map>

#include "core/cancel.h"
#include "core/hash.h"
#include "core/progress.h"

namespace par5 {
namespace {

// Hashes of a document's paragraphs, in order.
std::vector<std::uint64_t> paragraph_hashes(std::string_view text) {
  std::vector<std::uint64_t> hashes;
  std::string paragraph;
  for (std::size_t begin = 0; begin < text.size();) {
    const std::size_t end = std::min(text.find_first_of("\n\r", begin), text.size());
    paragraph.clear();
    for (const char c : text.substr(begin, end - begin)) {
      const bool space = c == ' ' || (c >= '\t' && c <= '\r');
      if (!space)
        paragraph += c;
      else if (!paragraph.empty() && paragraph.back() != ' ')
        paragraph += ' ';
    }
    if (!paragraph.empty() && paragraph.back() == ' ') paragraph.pop_back();
    if (paragraph.size() >= kParagraphBytes) hashes.push_back(xxh3_64(as_bytes(paragraph)));
    begin = end + 1;
  }
  return hashes;
}

}  // namespace

Result<Overlap> text_overlap(TextSource& a, TextSource& b) {
  Overlap overlap;
  overlap.compared_passages = true;
  std::unordered_multimap<std::string, std::size_t> numbers;  // of B's documents, by hash
  std::vector<std::uint64_t> sizes;
  std::vector<std::vector<std::uint64_t>> paragraphs;
  std::unordered_set<std::uint64_t> wanted, in_a;
  TextDocument document;
  for (;;) {
    P5_TRY(const bool more, b.next(document));
    if (!more) break;
    numbers.emplace(sha256_hex(as_bytes(document.text)), sizes.size());
    sizes.push_back(document.text.size());
    overlap.bytes_b += document.text.size();
    paragraphs.push_back(paragraph_hashes(document.text));
    wanted.insert(paragraphs.back().begin(), paragraphs.back().end());
  }
  overlap.documents_b = sizes.size();

  std::vector<bool> shared(sizes.size(), false);
  Progress progress("comparing", a.total(), "bytes");
  for (;;) {
    if (cancelled()) return interrupted();
    P5_TRY(const bool more, a.next(document));
    if (!more) break;
    ++overlap.documents_a;
    const auto [first, last] = numbers.equal_range(sha256_hex(as_bytes(document.text)));
    for (auto same = first; same != last; ++same) shared[same->second] = true;
    for (const std::uint64_t hash : paragraph_hashes(document.text))
      if (wanted.count(hash) > 0) in_a.insert(hash);
    progress.update(a.consumed());
  }
  for (std::size_t d = 0; d < shared.size(); ++d) {
    if (!shared[d]) continue;
    ++overlap.shared_documents;
    overlap.shared_bytes += sizes[d];
    paragraphs[d].clear();
  }
  count_passages(overlap, shared, paragraphs, in_a);
  return overlap;
}

}  // namespace par5
