// What the tests of this folder share.
#pragma once

#include <span>
#include <string>
#include <vector>

#include "base/testing.h"
#include "io/safetensors.h"

namespace trireme::io {

inline bool contains(const std::string& text, const std::string& part) {
  return text.find(part) != std::string::npos;
}

// A tensor of bytes, named and filled.
inline TensorSource byte_tensor(const std::string& name, std::string content) {
  const auto size = static_cast<int64_t>(content.size());
  return {name, DType::kU8, {size}, [content = std::move(content)] {
            return std::as_bytes(std::span(content));
          }};
}

inline std::string text_of(std::span<const std::byte> bytes) {
  return {reinterpret_cast<const char*>(bytes.data()), bytes.size()};
}

// A file with this header and data, whether they fit or not.
inline std::string safetensors_text(const std::string& header, const std::string& data) {
  const uint64_t length = header.size();
  return std::string(reinterpret_cast<const char*>(&length), sizeof length) + header + data;
}

}  // namespace trireme::io
