"""Moving trees of files to and from Cloud Storage. Not public; `vertexkit.storage` is.

``local_tree`` and ``object_names`` say what there is to move and where it may go. ``upload`` and ``download``
decide what has to be moved, and check what has arrived; ``file_upload`` and ``file_download`` are one
file of theirs. ``jobs`` does many at once, as long as there is ``patience``. Small objects go through
an ``engine`` (obstore, or google-cloud-storage), large ones block by block through ``objects_api``:
``resumable`` remembers in ``upload_sessions`` how far it is.
"""
