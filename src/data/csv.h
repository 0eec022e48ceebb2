// Comma-separated values as RFC 4180 has them: fields in quotes may hold commas, line breaks and
// doubled quotes; rows end in LF or CRLF. Stricter than most readers: a quote inside an unquoted
// field, or text after a closing quote, is an error, since both are what a file broken half-way
// looks like. Empty lines between rows are skipped.
#pragma once

#include <cstddef>
#include <string>
#include <string_view>
#include <vector>

namespace trireme::data {

// One pass over text that outlives the reader (valid UTF-8, no BOM). Fields are views, valid until
// the next next().
class CsvReader {
 public:
  // `name` is the file's name for messages.
  CsvReader(std::string_view text, std::string name);

  // Reads a row; false at the end of the file. Throws UserError "name:line:column: ..." for a
  // broken quote.
  bool next();

  size_t size() const { return fields_.size(); }
  std::string_view operator[](size_t field) const { return fields_[field]; }
  // The row was ended by the end of the file, not by a line break.
  bool cut_by_end() const { return at_ == text_.size() && text_.back() != '\n'; }

  // "name:line:column" of a field of this row. O(file), for messages.
  std::string place(size_t field = 0) const;

 private:
  // A field as it stands in the file.
  struct Raw {
    size_t at;     // of the field, its quote included
    size_t begin;  // of the content
    size_t end;
    bool doubled;  // holds "" for "
  };

  void read_plain();
  void read_quoted();
  bool end_row();  // steps over the separator: true when it ends the row
  void take_fields();

  std::string_view text_;
  std::string name_;
  size_t at_ = 0;
  std::vector<Raw> raw_;
  std::vector<std::string_view> fields_;
  std::string scratch_;  // fields without their doubled quotes
};

}  // namespace trireme::data
