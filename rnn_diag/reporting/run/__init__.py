"""One run on one page: what its log holds, drawn, and what the doctor said."""
