# Small libraries from the distribution's packages, linked statically so that one binary runs on another machine.
find_package(nlohmann_json 3.11 REQUIRED)
find_package(fmt 9 REQUIRED)

function(trireme_static_library target header library)
  find_path(${target}_INCLUDE ${header} REQUIRED)
  find_library(${target}_LIBRARY ${library} REQUIRED)
  add_library(${target} INTERFACE)
  target_include_directories(${target} SYSTEM INTERFACE ${${target}_INCLUDE})
  target_link_libraries(${target} INTERFACE ${${target}_LIBRARY})
endfunction()

if(NOT SKBUILD)  # the Python package has no tokenizer
  trireme_static_library(utf8proc_static utf8proc.h libutf8proc.a)
  target_compile_definitions(utf8proc_static INTERFACE UTF8PROC_STATIC)
  trireme_static_library(pcre2_static pcre2.h libpcre2-8.a)
  target_compile_definitions(pcre2_static INTERFACE PCRE2_STATIC PCRE2_CODE_UNIT_WIDTH=8)
  find_path(XXHASH_INCLUDE xxhash.h REQUIRED)  # a header alone
endif()

# libtorch's headers bundle another fmt; a folder that holds nothing else puts ours before it.
get_target_property(FMT_INCLUDE fmt::fmt INTERFACE_INCLUDE_DIRECTORIES)
file(MAKE_DIRECTORY ${CMAKE_BINARY_DIR}/include)
file(CREATE_LINK ${FMT_INCLUDE}/fmt ${CMAKE_BINARY_DIR}/include/fmt SYMBOLIC)
add_library(fmt_static STATIC ${CMAKE_SOURCE_DIR}/cmake/fmt.cc)
target_include_directories(fmt_static BEFORE PUBLIC ${CMAKE_BINARY_DIR}/include)

if(TRIREME_TESTS)
  find_package(GTest REQUIRED)
endif()
