"""What is exported: from image bytes to landmarks with uncertainty."""
